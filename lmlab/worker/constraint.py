"""What a reply was asked to look like, as GBNF that has been checked: a grammar as it is, a JSON Schema compiled."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from lmlab.errors import ConstraintError
from lmlab.gbnf import check_gbnf
from lmlab.worker.constraint_schema import compile_schema
from lmlab.worker.messages import Constraint

MAX_DEPTH = 200
"""Of the JSON of a schema, which is read by recursion."""


def compile_constraint(constraint: Constraint) -> str:
    """Return the GBNF of ``constraint``. Raises ConstraintError with the line, or the path in the schema, that is wrong."""
    if constraint.kind == "gbnf":
        check_gbnf(constraint.text)
        return constraint.text
    gbnf = compile_schema(_read_json(constraint.text))
    try:
        check_gbnf(gbnf)
    except ConstraintError as error:
        raise ConstraintError(f"$: the schema makes a grammar that cannot be used: {error}") from None
    return gbnf


def _read_json(text: str) -> Any:
    try:
        schema = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
        json.dumps(schema, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise ConstraintError(
            f"the schema is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from None
    except RecursionError:
        raise ConstraintError("the schema is nested too deep to be read") from None
    except UnicodeEncodeError:
        raise ConstraintError("the schema holds half a surrogate pair: write that character whole") from None
    except ValueError as error:
        # Python reads no whole number of more than some thousand digits.
        raise ConstraintError(f"the schema is not JSON that can be read: {error}") from None
    _check_depth(schema)
    return schema


def _check_depth(schema: Any) -> None:
    level, depth = [schema], 0
    while level:
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in _inner(value)]
        depth += 1
        if depth > MAX_DEPTH:
            raise ConstraintError(f"the schema is nested more than {MAX_DEPTH} deep: give inner parts a place in $defs")


def _inner(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ConstraintError(f"the schema has the key {key!r} twice in one object")
        found[key] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise ConstraintError(f"the schema is not JSON: {name} is not a number there")
