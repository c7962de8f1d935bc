"""JSON Schemas taken apart and put together: references, allOf, and whether two can both hold. Knows no grammar."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

from lmlab.errors import ConstraintError

Schema: TypeAlias = dict[str, Any]

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
KEYWORDS = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "minItems": "array",
    "maxItems": "array",
    "minLength": "string",
    "maxLength": "string",
    "pattern": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
}
"""The keywords that are enforced, and the type whose values they speak of."""

_STRUCTURE = {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref"}
_NO_ASSERTION = {
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$comment",
    "deprecated",
    "readOnly",
    "writeOnly",
}
_DEFINITIONS = {"$defs", "definitions"}


def refuse(path: str, why: str) -> NoReturn:
    raise ConstraintError(f"{path}: {why}")


def step(path: str, key: str | int) -> str:
    """Return the path of ``key`` within ``path``: ``$.properties.age``, ``$.anyOf[0]``, ``$.properties["a b"]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if key.isidentifier() or key.startswith("$") else f"{path}[{json.dumps(key)}]"


def canonical(value: Any) -> str:
    """Return a text that is equal for equal JSON values: 1 is 1.0 and not true."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    return json.dumps(value)


def type_of(value: Any) -> str:
    for name, kind in (("boolean", bool), ("integer", int), ("number", float), ("string", str), ("array", list)):
        if isinstance(value, kind):
            return "integer" if isinstance(value, float) and value.is_integer() else name
    return "null" if value is None else "object"


def has_type(value: Any, types: tuple[str, ...]) -> bool:
    return type_of(value) in types or (type_of(value) == "integer" and "number" in types)


@dataclass(frozen=True, slots=True)
class Part:
    """A schema that asserts only through keywords of its own, and where it stands."""

    schema: Schema
    path: str


class Document:
    """The whole schema, in which references are looked up."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def assertions(self, schema: Any, path: str) -> Schema:
        """Return the keywords of ``schema`` that assert something; ConstraintError for one that is not enforced."""
        if not isinstance(schema, dict):
            refuse(path, f"a schema is an object, or true or false, not {json.dumps(schema)[:40]}")
        found: Schema = {}
        for key, value in schema.items():
            if key in KEYWORDS or key in _STRUCTURE:
                found[key] = value
            elif (key == "$id" and path == "$") or (key == "uniqueItems" and value is False):
                continue
            elif key not in _NO_ASSERTION and key not in _DEFINITIONS:
                refuse(step(path, key), "this keyword is not supported: a grammar cannot enforce it, so leave it out")
        return found

    def lookup(self, reference: Any, path: str) -> tuple[Any, str]:
        """Return the schema that ``$ref`` at ``path`` names, and its own path."""
        where = step(path, "$ref")
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            refuse(where, f"{reference!r} is not in this schema, and nothing is fetched: refer to #/$defs/NAME")
        target, found = self._root, "$"
        for token in reference.split("/")[1:]:
            key = unquote(token).replace("~1", "/").replace("~0", "~")
            if isinstance(target, dict) and key in target:
                target, found = target[key], step(found, key)
            elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                target, found = target[int(key)], step(found, int(key))
            else:
                refuse(where, f"there is nothing at {reference}")
        return target, found

    def parts(self, schema: Any, path: str, seen: tuple[str, ...] = ()) -> list[Part]:
        """Return the schemas that must all hold where ``schema`` must: references followed, allOf taken apart."""
        if schema is True:
            return []
        if schema is False:
            refuse(path, "nothing is valid here")
        if path in seen:
            refuse(path, "the schema refers to itself with nothing in between")
        found = self.assertions(schema, path)
        parts: list[Part] = []
        if "$ref" in found:
            parts += self.parts(*self.lookup(found.pop("$ref"), path), (*seen, path))
        for index, part in enumerate(listed(found.pop("allOf", None), step(path, "allOf"))):
            parts += self.parts(part, step(step(path, "allOf"), index), (*seen, path))
        return [*parts, Part(found, path)] if found else parts


def listed(value: Any, path: str) -> list[Any]:
    """Return the schemas of a keyword that takes a list of them; none for None."""
    if value is None:
        return []
    if not isinstance(value, list) or not value:
        refuse(path, "a list of at least one schema is expected")
    return value


def merge(parts: list[Part], path: str) -> Schema:
    """Return one schema for what holds exactly where all of ``parts`` hold."""
    _check_closed(parts)
    merged: Schema = {}
    for part in parts:
        for key, value in part.schema.items():
            if key in merged and canonical(merged[key]) != canonical(value):
                if key not in _MERGES:
                    refuse(step(part.path, key), f"it differs from another {key} that holds at {path} too")
                merged[key] = _MERGES[key](merged[key], value, step(part.path, key))
            else:
                merged[key] = value
    return merged


def _check_closed(parts: list[Part]) -> None:
    """Refuse what reads its neighbours in its own part: additionalProperties, and items behind prefixItems."""
    names = {name for part in parts for name in _object_at(part.schema.get("properties", {}), part.path)}
    for part in parts:
        others = part.schema.get("additionalProperties", True)
        if others is not True and names - set(part.schema.get("properties", {})):
            refuse(
                step(part.path, "additionalProperties"),
                "here it would forbid or bind properties of other parts of allOf",
            )
    arrays = [part for part in parts if "items" in part.schema or "prefixItems" in part.schema]
    if len({canonical(part.schema.get("prefixItems")) for part in arrays}) > 1:
        refuse(arrays[-1].path, "items and prefixItems must be in the same part of allOf")


def _object_at(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse(step(path, "properties"), "an object of schemas is expected")
    return value


def _types(left: Any, right: Any, path: str) -> list[str]:
    first, second = as_types(left, path), as_types(right, path)
    both = [name for name in first if name in second or (name == "integer" and "number" in second)]
    both += [name for name in second if name == "integer" and "number" in first and name not in both]
    if not both:
        refuse(path, f"no value is both {' or '.join(first)} and {' or '.join(second)}")
    return both


def as_types(value: Any, path: str) -> tuple[str, ...]:
    names = value if isinstance(value, list) and value else [value]
    for name in names:
        if not isinstance(name, str) or name not in TYPES:
            refuse(path, f"{json.dumps(name)[:40]} is not a type: there are {', '.join(TYPES)}")
    return tuple(dict.fromkeys(names))


def _both(left: Any, right: Any, path: str) -> Any:
    return {"allOf": [left, right]}


def _properties(left: Any, right: Any, path: str) -> Any:
    shared = {name: _both(left[name], right[name], path) for name in left if name in right}
    return {**left, **right, **shared}


def _required(left: Any, right: Any, path: str) -> Any:
    if not isinstance(left, list) or not isinstance(right, list):
        refuse(path, "a list of names is expected")
    return [*left, *(name for name in right if name not in left)]


def _values(left: Any, right: Any, path: str) -> Any:
    if not isinstance(left, list) or not isinstance(right, list):
        refuse(path, "a list of values is expected")
    kept = {canonical(value) for value in right}
    return [value for value in left if canonical(value) in kept]


def _bound(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any, str], Any]:
    def bound(left: Any, right: Any, path: str) -> Any:
        for value in (left, right):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                refuse(path, "a number is expected")
        return choose(left, right)

    return bound


_MERGES: dict[str, Callable[[Any, Any, str], Any]] = {
    "type": _types,
    "properties": _properties,
    "required": _required,
    "enum": _values,
    "items": _both,
    **{key: _bound(max) for key in ("minItems", "minLength", "minimum", "exclusiveMinimum")},
    **{key: _bound(min) for key in ("maxItems", "maxLength", "maximum", "exclusiveMaximum")},
}


def disjoint(document: Document, left: Schema, right: Schema, path: str, depth: int = 3) -> bool:
    """Whether it is certain that no value is valid against both of two merged schemas, seen ``depth`` levels down."""
    finite = [_finite(schema) for schema in (left, right)]
    if finite[0] is not None and finite[1] is not None:
        return not {canonical(value) for value in finite[0]} & {canonical(value) for value in finite[1]}
    types = [_possible_types(schema) for schema in (left, right)]
    if not types[0] & types[1]:
        return True
    if types[0] & types[1] != {"object"} or not depth:
        return False
    needed = [set(schema.get("required", ())) & set(schema.get("properties", {})) for schema in (left, right)]
    return any(
        _property_disjoint(document, left, right, name, path, depth - 1) for name in sorted(needed[0] & needed[1])
    )


def _property_disjoint(document: Document, left: Schema, right: Schema, name: str, path: str, depth: int) -> bool:
    pair = []
    for schema in (left, right):
        where = step(step(path, "properties"), name)
        pair.append(merge(document.parts(schema["properties"][name], where), where))
    return disjoint(document, pair[0], pair[1], path, depth)


def _finite(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values = schema.get("enum")
    return values if isinstance(values, list) else None


def _possible_types(schema: Schema) -> set[str]:
    """Return the types a value may have, whole numbers among ``number``."""
    values = _finite(schema)
    types = (
        {type_of(value) for value in values} if values is not None else set(as_types(schema.get("type", [*TYPES]), "$"))
    )
    return {"number" if name == "integer" else name for name in types}
