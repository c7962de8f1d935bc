"""The filters and methods that a prompt template has: what writes text. None makes much out of little unweighed.

What is left out either could (``center``, ``format``, ``xmlattr``), or gives another text each time (``random``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, pass_environment
from jinja2.filters import FILTERS as ALL_FILTERS
from jinja2.filters import make_attrgetter
from jinja2.runtime import LoopContext
from markupsafe import escape

from lmlab.prompting.budget import ITEM, TooMuch, made, spend

_AS_IN_JINJA = [
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "int",
    "items",
    "last",
    "length",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "trim",
    "truncate",
    "unique",
    "upper",
]
# Ten to its power is a number that Jinja2 makes.
_MOST_DIGITS = 15

_TEXT = frozenset(
    [
        "capitalize",
        "casefold",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdecimal",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "istitle",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rindex",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
_MAPPING = frozenset({"get", "items", "keys", "values"})
_LIST = frozenset({"count", "index"})
_LOOP = frozenset(
    [
        "changed",
        "cycle",
        "depth",
        "depth0",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    ]
)


def attributes(value: object) -> frozenset[str]:
    """Return what a template may read of ``value`` by name."""
    if isinstance(value, str):
        return _TEXT
    if isinstance(value, dict):
        return _MAPPING
    if isinstance(value, (list, tuple)):
        return _LIST
    return _LOOP if isinstance(value, LoopContext) else frozenset()


def checked_method(method: object) -> Callable[..., Any] | None:
    """Return what a template gets for a method of text that can make much out of little; None for any other."""
    text = getattr(method, "__self__", None)
    if isinstance(text, str):
        match getattr(method, "__name__", ""):
            case "join":
                return partial(_joined, text)
            case "replace":
                return partial(_replaced, text)
            case "split" | "rsplit" | "splitlines" as name:
                return partial(_split, text, name)
    return None


def _weighed(own: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``own`` with what it gives weighed, and a list in place of an iterator."""

    # Jinja2 marks what takes its environment or context; the marks are copied.
    @wraps(own)
    def weighed(*arguments: Any, **named: Any) -> Any:
        found = own(*arguments, **named)
        if isinstance(found, Iterator):
            return [_item(item) for item in found]
        return made(found)

    return weighed


def _taken_apart(own: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``own``, which makes an item of each character or word of a text, with these weighed before."""

    @wraps(own)
    def weighed(*arguments: Any, **named: Any) -> Any:
        spend(sum(ITEM * len(argument) for argument in arguments if isinstance(argument, str)))
        return own(*arguments, **named)

    return weighed


def _item(value: Any) -> Any:
    spend(ITEM)
    return made(value)


def _joined(separator: str, values: Iterable[Any]) -> str:
    texts = [_string(value) for value in values]
    spend(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@pass_environment
def _join(environment: Environment, values: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    return _joined(str(d), values)


def _split(text: str, name: str, *arguments: Any, **named: Any) -> list[str]:
    separator = arguments[0] if arguments else named.get("sep")
    pieces = text.count(separator) if isinstance(separator, str) else len(text) // 2
    spend(ITEM * pieces)
    found: list[str] = getattr(text, name)(*arguments, **named)
    return found


def _replaced(text: str, old: str, new: str, count: int = -1) -> str:
    found = text.count(old) if count < 0 else min(text.count(old), count)
    spend(len(text) + found * max(len(new) - len(old), 0))
    return text.replace(old, new, count)


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    return _replaced(str(text), str(old), str(new), -1 if count is None else count)


def _indent(text: object, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    lines = str(text).count("\n") + 1
    spend(lines * (len(width) if isinstance(width, str) else max(width, 0)))
    return str(made(ALL_FILTERS["indent"](str(text), width, first, blank)))


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > _MOST_DIGITS:
        raise TooMuch(f"round: give at most {_MOST_DIGITS} digits")
    return made(float(ALL_FILTERS["round"](value, precision, method)))


@pass_environment
def _sum(
    environment: Environment, values: Iterable[Any], attribute: str | int | None = None, start: float = 0
) -> float:
    if attribute is not None:
        values = map(make_attrgetter(environment, attribute), values)
    total = start
    for value in values:
        if not isinstance(value, (int, float)):
            raise TypeError("sum: there is something that is no number")
        total = made(total + value)
    return total


def _string(value: object) -> str:
    return made(str(made(value)))


def _escape(value: object) -> str:
    return made(str(escape(_string(value))))


def _tojson(value: object, indent: int | None = None) -> str:
    if indent is not None:
        raise TooMuch("tojson takes no indent in a template")
    return made(json.dumps(made(value), ensure_ascii=False, default=str))


FILTERS = MappingProxyType(
    {
        **{name: _weighed(ALL_FILTERS[name]) for name in _AS_IN_JINJA},
        **{name: _taken_apart(_weighed(ALL_FILTERS[name])) for name in ("list", "sort", "title", "wordcount")},
        "e": _escape,
        "escape": _escape,
        "indent": _indent,
        "join": _join,
        "replace": _replace,
        "round": _round,
        "string": _string,
        "sum": _sum,
        "tojson": _tojson,
    }
)
