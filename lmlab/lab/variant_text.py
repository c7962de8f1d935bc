"""``MODEL[@key=value,...]`` taken apart: where the settings begin, and what is quoted. Knows no key."""

from __future__ import annotations

import re
from typing import TypeAlias

from lmlab.errors import UsageError
from lmlab.terminal_text import one_line

Setting: TypeAlias = tuple[str, str]

_BEGIN = re.compile(r"@(?=\s*[A-Za-z][\w-]*\s*=)")
_KEY = re.compile(r"\s*([A-Za-z][\w-]*)\s*=\s*")
_COMMA = re.compile(r"\s*(,|$)")
# A quote inside quotes is written twice, as in CSV: backslashes are for the paths of Windows.
_QUOTED = re.compile(r'"((?:[^"]|"")*)"|\'((?:[^\']|\'\')*)\'')
_BARE = re.compile(r"[^,]*")


def split_variant(text: str) -> tuple[str, list[Setting]]:
    """Return the model and the settings.

    The settings begin at the last ``@key=`` that is not inside quotes: a path may hold an ``@`` too. Raises UsageError
    for settings that cannot be taken apart.
    """
    problem: UsageError | None = None
    for begin in _BEGIN.finditer(text):
        try:
            return text[: begin.start()].strip(), _read(text, begin.end())
        except UsageError as error:
            problem = error
    if problem is not None:
        raise problem
    return text.strip(), []


def may_begin(ref: str) -> bool:
    """Return whether settings may seem to begin within the name of a model."""
    return _BEGIN.search(ref) is not None


def quoted(value: str) -> str:
    """Return ``value`` as it is written in a variant: in quotes where it needs them."""
    if value and value == value.strip() and not any(character in value for character in ",@\"'\r\n"):
        return value
    return '"' + value.replace('"', '""') + '"'


def _read(text: str, start: int) -> list[Setting]:
    settings: list[Setting] = []
    at = start
    while True:
        key = _KEY.match(text, at)
        if key is None:
            left = one_line(text[at:], 40) or "nothing"
            raise UsageError(
                f"in the variant {one_line(text, 120)}: a setting key=value belongs before {left!r}: "
                "put a value that holds a comma in quotes"
            )
        value, at = _value(text, key)
        settings.append((key[1], value))
        comma = _COMMA.match(text, at)
        if comma is None:
            raise UsageError(
                f"in the variant {one_line(text, 120)}: a comma belongs after {key[1]}={text[key.end() : at]}: "
                "a quote inside quotes is written twice"
            )
        at = comma.end()
        if not comma[1]:
            return settings


def _value(text: str, key: re.Match[str]) -> tuple[str, int]:
    start = key.end()
    if text[start : start + 1] in ("'", '"'):
        found = _QUOTED.match(text, start)
        if found is None:
            raise UsageError(f"in the variant {one_line(text, 120)}: the quote after {key[1]}= is not closed")
        mark = found[0][0]
        inside = found[1] if found[1] is not None else found[2]
        return inside.replace(mark * 2, mark), found.end()
    found = _BARE.match(text, start)
    assert found is not None
    value = found[0].rstrip()
    if '"' in value or _BEGIN.search(value):
        raise UsageError(f"in the variant {one_line(text, 120)}: put the value of {key[1]} in quotes")
    return value, found.end()
