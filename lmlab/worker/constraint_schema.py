"""A JSON Schema (draft 2020-12) as GBNF: every reply that follows the grammar is JSON that is valid against the schema.

The grammar may be narrower than the schema: properties come in the order given, an object that names properties has no
others unless ``additionalProperties`` asks for them, and a list with ``prefixItems`` goes on only where ``items`` says.
What cannot be enforced is refused with its path; nothing is ignored but what asserts nothing, such as a title.
"""

from __future__ import annotations

import json
import math
from typing import Any

from lmlab.errors import ConstraintError
from lmlab.gbnf import MAX_REPEATS
from lmlab.worker.constraint_merge import (
    KEYWORDS,
    TYPES,
    Document,
    Part,
    Schema,
    as_types,
    canonical,
    disjoint,
    has_type,
    listed,
    merge,
    refuse,
    step,
)
from lmlab.worker.constraint_pattern import pattern_rules
from lmlab.worker.constraint_text import (
    FORMATS,
    MAX_DIGITS,
    SHARED_RULES,
    integer_range,
    json_literal,
    other_text,
    quoted,
)

_MAX_NESTING = 64


def compile_schema(schema: Any) -> str:
    """Return the GBNF of ``schema``, which is parsed JSON. Raises ConstraintError with the path of what is wrong."""
    return _Compiler(schema).compile()


class _Compiler:
    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._document = Document(schema)
        self._rules: dict[str, str] = {}
        self._of_schema: dict[str, str] = {}
        self._nesting = 0

    def compile(self) -> str:
        root = self._visit(self._schema, "$")
        rules = {"root": root, **self._rules, **SHARED_RULES}
        return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"

    def _add(self, body: str) -> str:
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _visit(self, schema: Any, path: str) -> str:
        """Return the name of the rule for ``schema``."""
        parts = self._document.parts(schema, path)
        return self._rule(merge(parts, path), parts[0].path if len(parts) == 1 else path)

    def _rule(self, schema: Schema, path: str) -> str:
        key = canonical(schema)
        if key not in self._of_schema:
            # Named before it is made: it may contain itself.
            name = self._of_schema[key] = self._add("")
            self._nesting += 1
            if self._nesting > _MAX_NESTING:
                refuse(path, f"the schema is nested more than {_MAX_NESTING} deep")
            self._rules[name] = self._body(schema, path)
            self._nesting -= 1
        return self._of_schema[key]

    def _body(self, schema: Schema, path: str) -> str:
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._alternatives(schema, key, path)
        if "const" in schema or "enum" in schema:
            return self._values(schema, path)
        implied = {KEYWORDS[key] for key in schema if key in KEYWORDS}
        if "type" not in schema and not implied:
            return "value"
        types = as_types(schema.get("type", [name for name in TYPES if name in implied]), step(path, "type"))
        for key in schema:
            about = KEYWORDS.get(key)
            if about and about not in types and not (about == "number" and "integer" in types):
                refuse(
                    step(path, key), f"it speaks of a value of type {about}, and the type here is {' or '.join(types)}"
                )
        if "number" in types:
            types = tuple(name for name in types if name != "integer")
        return " | ".join(self._typed(name, schema, path) for name in types)

    def _alternatives(self, schema: Schema, key: str, path: str) -> str:
        common = Part({name: value for name, value in schema.items() if name != key}, path)
        merged = []
        for index, alternative in enumerate(listed(schema[key], step(path, key))):
            where = step(step(path, key), index)
            merged.append((merge([common, *self._document.parts(alternative, where)], where), where))
        if key == "oneOf":
            for index, (schema, where) in enumerate(merged):
                for other, _ in merged[:index]:
                    if not disjoint(self._document, schema, other, path):
                        refuse(
                            where, "a value may be valid against this and another of oneOf: use anyOf if that may be"
                        )
        return " | ".join(self._rule(schema, where) for schema, where in merged)

    def _values(self, schema: Schema, path: str) -> str:
        values = schema.get("enum", [schema.get("const")])
        if not isinstance(values, list):
            refuse(step(path, "enum"), "a list of values is expected")
        if "const" in schema:
            values = [value for value in values if canonical(value) == canonical(schema["const"])]
        if "type" in schema:
            types = as_types(schema["type"], step(path, "type"))
            values = [value for value in values if has_type(value, types)]
        for key in schema:
            if key not in ("enum", "const", "type"):
                refuse(
                    step(path, key), "it cannot be combined with enum or const: leave out the values it would exclude"
                )
        if not values:
            refuse(step(path, "enum" if "enum" in schema else "const"), "no value is left")
        return " | ".join(dict.fromkeys(json_literal(value) for value in values))

    def _typed(self, name: str, schema: Schema, path: str) -> str:
        match name:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return self._string(schema, path)
            case "integer":
                return self._integer(schema, path)
            case "number":
                return self._number(schema, path)
            case _:
                return name

    def _object(self, schema: Schema, path: str) -> str:
        if not {"properties", "required", "additionalProperties"} & set(schema):
            return "object"
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            refuse(step(path, "properties"), "an object of schemas is expected")
        others = schema.get("additionalProperties", "properties" not in schema)
        required = schema.get("required", [])
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            refuse(step(path, "required"), "a list of names is expected")
        names = list(dict.fromkeys([*properties, *required]))
        members = []
        for name in names:
            if name in properties:
                value = self._visit(properties[name], step(step(path, "properties"), name))
            elif "additionalProperties" in schema:
                if others is False:
                    refuse(step(path, "required"), f"{name!r} is required, and additionalProperties forbids it")
                value = self._visit(others, step(path, "additionalProperties"))
            else:
                value = "value"
            members.append((self._add(f'{json_literal(name)} ws ":" ws {value}'), name in required))
        other = None if others is False else self._other_member(names, others, path)
        return self._members(members, other)

    def _other_member(self, names: list[str], schema: Any, path: str) -> str:
        value = self._visit(schema, step(path, "additionalProperties"))
        key = self._add("")
        self._rules.update(other_text(names, key))
        return self._add(f'{quoted(key)} ws ":" ws {value}')

    def _members(self, members: list[tuple[str, bool]], other: str | None) -> str:
        """Return an object: ``members`` in order, each with whether it must be there, then any ``other`` ones."""
        more = "" if other is None else self._add(f'("," ws {other})*')
        # What may follow when nothing has been written yet, and when something has.
        first = "" if other is None else self._add(f"({other} {more})?")
        for member, needed in reversed(members):
            begun = f"{member} {more}".strip()
            first = self._add(begun if needed else f"{begun} | {first}" if first else f"({begun})?")
            more = self._add(f'"," ws {member} {more}' if needed else f'("," ws {member})? {more}')
        return f'"{{" ws {first} ws "}}"' if first else '"{" ws "}"'

    def _array(self, schema: Schema, path: str) -> str:
        least = self._count(schema, "minItems", path) or 0
        most = self._count(schema, "maxItems", path)
        if most is not None and most < least:
            refuse(step(path, "maxItems"), f"{most} is less than minItems, {least}")
        prefix = listed(schema.get("prefixItems"), step(path, "prefixItems"))[:most]
        rest = schema.get("items", not prefix)
        if isinstance(rest, list):
            refuse(step(path, "items"), "a list of schemas belongs in prefixItems")
        items = [self._visit(item, step(step(path, "prefixItems"), index)) for index, item in enumerate(prefix)]
        least, most = max(0, least - len(items)), None if most is None else most - len(items)
        separated = ' "," ws '.join(items)
        if rest is False or most == 0:
            if least:
                refuse(
                    step(path, "minItems"), f"only {len(items)} items are possible: say with items what the others are"
                )
            return f'"[" ws {separated} ws "]"' if items else '"[" ws "]"'
        item = self._visit(rest, step(path, "items"))
        following = self._add(f'"," ws {item}')
        if items:
            return f'"[" ws {separated} {following}{_times(least, most)} ws "]"'
        inner = f"{item} {following}{_times(max(0, least - 1), None if most is None else most - 1)} ws"
        return f'"[" ws {inner} "]"' if least else f'"[" ws ({inner})? "]"'

    def _string(self, schema: Schema, path: str) -> str:
        least, most = self._count(schema, "minLength", path), self._count(schema, "maxLength", path)
        bounded = least is not None or most is not None
        given = [key for key in ("pattern", "format") if key in schema]
        if len(given) + bounded > 1:
            refuse(step(path, given[-1]), "of pattern, format and the lengths a grammar can enforce only one at a time")
        if "format" in schema:
            name = schema["format"]
            if not isinstance(name, str) or name not in FORMATS:
                refuse(
                    step(path, "format"), f"{json.dumps(name)[:40]} is not supported: there are {', '.join(FORMATS)}"
                )
            return quoted(FORMATS[name])
        if "pattern" in schema:
            return self._pattern(schema["pattern"], step(path, "pattern"))
        if not bounded:
            return "string"
        if most is not None and most < (least or 0):
            refuse(step(path, "maxLength"), f"{most} is less than minLength, {least}")
        return quoted(f"char{_times(least or 0, most)}")

    def _pattern(self, pattern: Any, path: str) -> str:
        if not isinstance(pattern, str):
            refuse(path, "a text is expected")
        name = self._add("")
        try:
            self._rules.update(pattern_rules(pattern, name))
        except ConstraintError as error:
            refuse(path, f"this pattern is not supported: {error}")
        return quoted(name)

    def _integer(self, schema: Schema, path: str) -> str:
        limit = 10**MAX_DIGITS - 1
        low, high = -limit, limit
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            bound = self._bound(schema, key, path)
            if bound is None:
                continue
            if abs(bound) > limit:
                refuse(step(path, key), f"{bound} has more than {MAX_DIGITS} digits")
            match key:
                case "minimum":
                    low = max(low, math.ceil(bound))
                case "maximum":
                    high = min(high, math.floor(bound))
                case "exclusiveMinimum":
                    low = max(low, math.floor(bound) + 1)
                case _:
                    high = min(high, math.ceil(bound) - 1)
        if low > high:
            refuse(path, "no whole number is within these bounds")
        return integer_range(low, high)

    def _number(self, schema: Schema, path: str) -> str:
        name = "number"
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            bound = self._bound(schema, key, path)
            if bound is None:
                continue
            if key != "minimum" or bound != 0:
                refuse(step(path, key), "of a number a grammar can enforce only a minimum of 0: use an integer")
            name = "positive-number"
        return name

    @staticmethod
    def _bound(schema: Schema, key: str, path: str) -> int | float | None:
        bound = schema.get(key)
        if key in schema and (
            isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound)
        ):
            refuse(step(path, key), "a number is expected")
        return bound

    @staticmethod
    def _count(schema: Schema, key: str, path: str) -> int | None:
        count = schema.get(key)
        if key not in schema:
            return None
        if isinstance(count, bool) or not isinstance(count, (int, float)) or count < 0 or count != int(count):
            refuse(step(path, key), "a whole number of 0 or more is expected")
        if count > MAX_REPEATS:
            refuse(step(path, key), f"{count:,} is more than {MAX_REPEATS:,}, the most a grammar can count")
        return int(count)


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"
