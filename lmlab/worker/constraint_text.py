"""GBNF for the text of JSON: literals, classes of characters, strings, numbers within bounds, dates. Knows no schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

Ranges: TypeAlias = list[tuple[int, int]]

PLAIN: Ranges = [(0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF)]
"""What stands for itself in a JSON string."""

MAX_DIGITS = 15
"""Of a number: as many as every reader of JSON keeps."""

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def literal(text: str) -> str:
    """Return GBNF for exactly ``text``."""
    return '"' + "".join(_NAMED.get(c, c if c.isprintable() else _code(ord(c))) for c in text) + '"'


def json_literal(value: Any) -> str:
    """Return GBNF for the JSON of ``value``."""
    return literal(json.dumps(value, ensure_ascii=False))


def character_class(ranges: Iterable[tuple[int, int]]) -> str:
    return "[" + "".join(_code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in ranges) + "]"


def intersect(left: Ranges, right: Ranges) -> Ranges:
    pairs = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return sorted((low, high) for low, high in pairs if low <= high)


def without(ranges: Ranges, removed: Iterable[tuple[int, int]]) -> Ranges:
    for low, high in removed:
        ranges = intersect(ranges, [(0, low - 1), (high + 1, 0x10FFFF)])
    return ranges


def quoted(content: str) -> str:
    return f'"\\"" {content} "\\""'


def _code(point: int) -> str:
    if point <= 0xFF:
        return f"\\x{point:02X}"
    return f"\\u{point:04X}" if point <= 0xFFFF else f"\\U{point:08X}"


_DIGIT = "[0-9]"
_FRACTION_AND_EXPONENT = f'("." {_DIGIT}{{1,{MAX_DIGITS}}})? ([eE] [-+]? {_DIGIT}{{1,2}})?'
_HEX = "[0-9a-fA-F]"
# Years that four digits name beyond doubt. The leap years among them: 04 to 96, and every fourth century.
_YEAR = f"[12] {_DIGIT}{{3}}"
_LEAP_YEAR = '([12] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | ("12" | "16" | "20" | "24" | "28") "00")'
_DAY_OF_28 = '("0" [1-9] | "1" [0-9] | "2" [0-8])'
_DATE = (
    f'({_YEAR} "-" (("01" | "03" | "05" | "07" | "08" | "10" | "12") "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
    f' | ("04" | "06" | "09" | "11") "-" ("0" [1-9] | [12] [0-9] | "30")'
    f' | "02-" {_DAY_OF_28}) | {_LEAP_YEAR} "-02-29")'
)
_HOURS_MINUTES = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME = f'{_HOURS_MINUTES} ":" [0-5] [0-9] ("." {_DIGIT}{{1,6}})? ("Z" | [-+] {_HOURS_MINUTES})'

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": ' "-" '.join(f"{_HEX}{{{count}}}" for count in (8, 4, 4, 4, 12)),
}

# A space, or a line and its indent: enough to read well, too little to go on for ever.
SHARED_RULES = {
    "ws": '(" " | "\\n" [ \\t]{0,20})?',
    # No half of a surrogate pair, which is no text.
    "char": f"{character_class(PLAIN)} | "
    '"\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-CeEfF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))',
    "plain": character_class(PLAIN),
    "string": quoted("char*"),
    "number": f'"-"? ("0" | [1-9] {_DIGIT}{{0,{MAX_DIGITS - 1}}}) {_FRACTION_AND_EXPONENT}',
    "positive-number": f'("0" | [1-9] {_DIGIT}{{0,{MAX_DIGITS - 1}}}) {_FRACTION_AND_EXPONENT}',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
    "array": '"[" ws (value ("," ws value)* ws)? "]"',
}


def integer_range(low: int, high: int) -> str:
    """Return GBNF for the whole numbers from ``low`` to ``high``, both of at most MAX_DIGITS digits."""
    parts = []
    if low < 0:
        parts += [f'"-" {part}' for part in _positive_range(max(1, -high), -low)]
    if high >= 0:
        parts += _positive_range(max(0, low), high)
    return " | ".join(parts)


def _positive_range(low: int, high: int) -> list[str]:
    """Return expressions for the numbers from ``low`` to ``high``, neither negative: one for all lengths that are whole."""
    parts = []
    whole = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first, last = 10 ** (length - 1) if length > 1 else 0, 10**length - 1
        if low <= first and last <= high and length > 1:
            whole.append(length - 1)
        else:
            parts.append(f"({_digits(str(max(low, first)), str(min(high, last)))})")
    if whole:
        parts.append(f"[1-9] {_DIGIT}{{{whole[0]},{whole[-1]}}}")
    return parts


def _digits(low: str, high: str) -> str:
    """Return GBNF for the numbers from ``low`` to ``high``, as many digits each."""
    rest = len(low) - 1
    if not rest:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" ({_digits(low[1:], high[1:])})'
    parts = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts.append(f'"{first}" ({_digits(low[1:], "9" * rest)})')
        first += 1
    top = high[1:] != "9" * rest
    if first <= last - top:
        parts.append(f"[{first}-{last - top}] {_DIGIT}{{{rest}}}")
    if top:
        parts.append(f'"{last}" ({_digits("0" * rest, high[1:])})')
    return " | ".join(parts)


def other_text(excluded: Sequence[str], name: str) -> dict[str, str]:
    """Return rules, ``name`` the first, for what a JSON string may hold that is spelled plainly and is none of ``excluded``."""
    rules: dict[str, str] = {}
    plain = [text for text in excluded if all(intersect([(ord(c), ord(c))], PLAIN) for c in text)]

    def node(prefix: str) -> str:
        rule = f"{name}-{len(rules)}" if rules else name
        rules[rule] = ""
        following = sorted({text[len(prefix)] for text in plain if text.startswith(prefix) and text != prefix})
        other = character_class(without(PLAIN, [(ord(c), ord(c)) for c in following]))
        parts = [f"{literal(c)} {node(prefix + c)}" for c in following]
        parts.append(f"{other} plain*")
        if prefix not in plain:
            parts.append('""')
        rules[rule] = " | ".join(parts)
        return rule

    node("")
    return rules
