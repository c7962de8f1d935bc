"""Rows that are a line each: JSON objects, or prompts as plain text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from lmlab.errors import UsageError
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.row_source import MAX_LINE_BYTES, Line

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Broken(ValueError):
    """Why a row cannot be used, and what to do, without its place."""


def read_objects(lines: Iterable[Line], name: str) -> Iterator[Row | BadRow]:
    """Read JSON Lines: an object's members are the values, a bare string is a prompt. Blank lines are skipped."""
    number = 0
    for line in lines:
        if not line.data.strip():
            continue
        number += 1
        try:
            values = _values(line)
            yield Row(number, line.number, values, row_id(values), line.position)
        except Broken as why:
            yield bad_row(number, line.number, line.position, name, why)


def read_texts(lines: Iterable[Line], name: str) -> Iterator[Row | BadRow]:
    """Read one prompt a line. Blank lines are skipped."""
    number = 0
    for line in lines:
        if not line.data.strip():
            continue
        number += 1
        try:
            text = line_text(line).removesuffix("\n").removesuffix("\r")
            yield Row(number, line.number, {"prompt": text}, None, line.position)
        except Broken as why:
            yield bad_row(number, line.number, line.position, name, why)


def bad_row(number: int, line: int, position: int, name: str, why: Broken) -> BadRow:
    return BadRow(number, line, None, UsageError(f"{name}, line {line:,}: {why}"), position)


def line_text(line: Line) -> str:
    """Return the text of a line. Raises Broken when it is too long or not UTF-8."""
    if not line.whole:
        raise Broken(f"the line is longer than {MAX_LINE_BYTES >> 20} MiB: split the row")
    try:
        return line.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken(
            f"byte {error.start + 1:,} of the line, 0x{line.data[error.start]:02X}, is not UTF-8: convert the file, "
            "for example with iconv -f LATIN1 -t UTF-8"
        ) from None


def row_id(values: dict[str, Any]) -> str | None:
    """Return the ``id`` of a row as text; None without one. Raises Broken when it is neither a string nor a number."""
    found = values.get("id")
    if found is None or found == "":
        return None
    if isinstance(found, str):
        return found
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Broken(f"id is {json.dumps(found)[:40]}: make it a string or a number, or name the column differently")
    return repr(found)


def _values(line: Line) -> dict[str, Any]:
    text = line_text(line)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Broken(f"broken JSON at character {error.pos + 1:,}: {error.msg}; mend the line") from None
    except RecursionError:
        raise Broken("the JSON is nested too deeply: flatten it") from None
    if _SURROGATE.search(line.data):
        _check_surrogates(value)
    if isinstance(value, str):
        return {"prompt": value}
    if not isinstance(value, dict):
        kind = {list: "an array", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
        raise Broken(f"a row is an object or a string, and this is {kind}: write it as {{...}}")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Broken(f"the key {json.dumps(key)} is there twice in one object: remove one")
            seen.add(key)
    return members


def _no_constant(text: str) -> NoReturn:
    raise Broken(f"{text} is no JSON: write null or a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Broken(f"the number {text[:40]} is too large: write it as a string")
    return number


def _whole(text: str) -> int:
    # Python refuses to read integers of more than 4,300 digits.
    try:
        return int(text)
    except ValueError:
        raise Broken(f"a number of {len(text):,} digits is too large: write it as a string") from None


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise Broken(f"\\u{half:04x} is half a character: write both halves of the pair, or remove it") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole
)
