"""Whether a record that was built from foreign values is what its type says. Knows nothing of any one type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lmlab.terminal_text import one_line


def misfit(record: Any, kind: type) -> str | None:
    """Return which field of the dataclass ``record`` is not of its type, in words; None when all are.

    Numbers must be finite (NaN may stand for one that is not known), and texts must be Unicode.
    """
    for name, hint in _hints(kind).items():
        value = getattr(record, name)
        if is_dataclass(value) and type(value) in (hint, *get_args(hint)):
            if (inner := misfit(value, type(value))) is not None:
                return f"{name}: {inner}"
        elif not _fits(value, hint):
            return f"{name} cannot be {one_line(repr(value), 60)}"
    return None


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in args)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is tuple:
        return isinstance(value, tuple) and _all_fit(value, args)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(part, args[n]) for pair in value.items() for n, part in enumerate(pair)
        )
    if is_dataclass(hint):
        return isinstance(value, hint) and misfit(value, hint) is None  # type: ignore[arg-type]
    if hint is float:
        return type(value) in (int, float) and not math.isinf(value)
    if hint is int:
        return type(value) is int
    if hint is str:
        return isinstance(value, str) and _is_text(value)
    return isinstance(value, NoneType if hint is None else hint)


def _all_fit(values: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is Ellipsis:
        return all(_fits(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(_fits, values, hints))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
