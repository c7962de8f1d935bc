"""One line of an output: how it is written, and what can be told of one that is found. Knows nothing of files.

A line begins ``{"id":...,"key":"...","run":"...",``, so that resuming needs no more of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

KEY = re.compile(r"[0-9a-f]{32}")
RUN = re.compile(r"[0-9a-f]{16}")

_START = b'{"id":'
_HEAD = re.compile(
    rb'\{"id":\s*(?:"(?:[^"\\]|\\.)*"|null|[-+.0-9eE]+),\s*"key":\s*"([0-9a-f]{32})",\s*"run":\s*"([0-9a-f]{16})"'
    rb'(?:,\s*"variant":\s*"(?:[^"\\]|\\.)*",\s*"correct":\s*(true|false))?\s*[,}]'
)


@dataclass(frozen=True, slots=True)
class Head:
    """A whole line of a batch: which row of which run, whether it tells of a failure, and whether its answer is correct."""

    key: str
    run: str
    failed: bool
    correct: bool | None = None


# "torn": half a line, or one a power cut left holes in; "foreign": no line of a batch.
Found: TypeAlias = Head | Literal["blank", "torn", "foreign"]


def format_line(key: str, run: str, record: Mapping[str, Any]) -> str:
    """Return the line for ``record``, with its end. Raises ValueError for what is no JSON (NaN)."""
    whole = {"id": record.get("id"), "key": key, "run": run, **record}
    text = json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not _encodes(text):
        text = json.dumps(whole, allow_nan=False, separators=(",", ":"))
    return text + "\n"


def has_failed(record: Mapping[str, Any]) -> bool:
    return record.get("error") is not None


def read_line(data: bytes, after_ours: bool) -> Found:
    """Tell what a line is. ``after_ours``: the one before it belongs to a batch, whole or torn."""
    head = _HEAD.match(data)
    if head and data.endswith(b"}\n") and b'"error"' not in data and b"\0" not in data:
        return Head(head[1].decode(), head[2].decode(), False, None if head[3] is None else head[3] == b"true")
    if not data.strip():
        return "blank"
    if _torn(data, after_ours):
        return "torn"
    return _parsed(data) or "foreign"


def _torn(data: bytes, after_ours: bool) -> bool:
    """Whether a crash left this of a line.

    Only what can be nothing else: a file that was named by mistake must not lose its last line.
    """
    text, hole, rest = data.partition(b"\0")
    if hole:
        # Blocks that a power cut kept from being written read as zeros.
        only_zeros = not rest.strip(b"\0\n")
        return text.startswith(_START) or (_START.startswith(text) and (after_ours or only_zeros))
    if data.endswith(b"\n"):
        return False
    return _START.startswith(data) or (data.startswith(_START) and not _is_json(data))


def _parsed(data: bytes) -> Head | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    key, run = value.get("key"), value.get("run")
    if isinstance(key, str) and isinstance(run, str) and KEY.fullmatch(key) and RUN.fullmatch(run):
        correct = value.get("correct")
        return Head(key, run, has_failed(value), correct if isinstance(correct, bool) else None)
    return None


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
