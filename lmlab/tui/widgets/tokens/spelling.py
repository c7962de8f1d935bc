"""The text of tokens as a person sees it: spaces, line ends and stray bytes have marks. Knows nothing of widgets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from lmlab.terminal_text import visible

SPACE = "▁"
NEWLINE = "⏎"
TAB = "⇥"
MARKS = (SPACE, NEWLINE, TAB)
END = "■"
"""Stands after the last token of a reply that the model ended."""

# How the worker spells a byte that is no text by itself; from 0x80 on, since ASCII always is.
_BYTES = re.compile(r"(?:\\x[89a-f][0-9a-f])+")
_WRITTEN = str.maketrans({" ": SPACE, "\n": NEWLINE, "\t": TAB})


def shown(text: str) -> str:
    """Return the text of one token, safe, on one line, at least one cell wide."""
    marked = visible(_BYTES.sub(_hexadecimal, text)).translate(_WRITTEN)
    if not marked:
        return "‹›"
    if cell_len(marked) == 0:
        # Alone it would be drawn over its neighbour, if at all.
        return "".join(f"‹U+{ord(character):04X}›" for character in marked)
    return f"◌{marked}" if unicodedata.combining(marked[0]) else marked


def _hexadecimal(bytes_: re.Match[str]) -> str:
    digits = bytes_.group().replace(r"\x", "").upper()
    return f"‹0x{digits}›"


def fit(text: str, cells: int) -> str:
    """Return ``text`` in exactly so many cells, its end cut with ``…`` where it is longer."""
    return set_cell_size(text, cells) if cell_len(text) <= cells else set_cell_size(text, max(0, cells - 1)) + "…"


class Spelling:
    """The texts of token ids, as far as they have been asked for. One vocabulary."""

    def __init__(self) -> None:
        self._shown: dict[int, str] = {}

    def __contains__(self, token: int) -> bool:
        return token in self._shown

    def __getitem__(self, token: int) -> str:
        return self._shown[token]

    def missing(self, tokens: Iterable[int]) -> tuple[int, ...]:
        """Return those that are not known yet, each once, in order."""
        return tuple(dict.fromkeys(token for token in tokens if token not in self._shown))

    def add(self, tokens: Sequence[int], texts: Sequence[str]) -> None:
        self._shown.update(zip(tokens, map(shown, texts), strict=True))
