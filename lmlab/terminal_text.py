"""Text from models, files and people, made safe to put on a terminal. Knows nothing of any screen."""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1, and the bidirectional controls that can make a line read as what it is not.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"‹U+{code:04X}›"


def visible(text: str) -> str:
    """Return ``text`` with every character that could drive a terminal replaced by a picture of it.

    Newline and tab stay. ESC becomes ``␛``, other C0 controls their control pictures, C1 controls, bidirectional
    controls and lone surrogates ``‹U+009B›``. A carriage return becomes ``␍``: obeyed, it would overwrite the line.
    """
    return _UNSAFE.sub(_picture, text)


def one_line(text: str, limit: int = 200) -> str:
    """Return ``text`` safe, on one line, and cut with ``…`` at ``limit`` characters."""
    line = " ".join(visible(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
