"""A long line of the input as it is drawn: what is the same for all its parts is made once. Knows nothing of keys.

For each line of the screen Textual makes the whole line of text and cuts it into all its parts, to take one of them; a
pasted document may be one line of thousands.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from functools import lru_cache

from rich.containers import Lines
from rich.text import Text

from lmlab.terminal_text import visible

_LONG = 4096
"""Characters from which on a line is kept: wider than any screen, so that it is always in parts."""

_STAND_IN = "�"


def drawn_line(line: str) -> Text:
    """Return ``line`` to be styled and cut: what could drive the terminal is one character that cannot.

    A long one is the same object each time, without the styles it had.
    """
    if len(line) < _LONG:
        return Text(_safe(line), end="", no_wrap=True)
    kept = _kept(line)
    kept.spans = []
    return kept


@lru_cache(maxsize=4)
def _kept(line: str) -> _KeptLine:
    return _KeptLine(f"{_safe(line)} ", end="", no_wrap=True)


def _safe(line: str) -> str:
    if visible(line) == line:
        return line
    return "".join(shown if len(shown := visible(one)) == 1 else _STAND_IN for one in line)


class _KeptLine(Text):
    """Cut at the same places again, only the parts that have a style are made anew. It has its place for the cursor."""

    _offsets: tuple[int, ...] | None = None
    _parts: tuple[Text, ...] = ()

    def set_length(self, new_length: int) -> None:
        """Leave it as it is: Textual asks for a place for the cursor."""

    def divide(self, offsets: Iterable[int]) -> Lines:
        at = tuple(offsets)
        if at != self._offsets:
            spans, self.spans = self.spans, []
            self._offsets, self._parts = at, tuple(super().divide(at))
            self.spans = spans
        parts = list(self._parts)
        begins = (0, *at)
        for span in self.spans:
            for place in range(bisect_right(begins, span.start) - 1, bisect_left(begins, span.end)):
                parts[place] = parts[place].copy()
                parts[place].stylize(span.style, max(0, span.start - begins[place]), span.end - begins[place])
        return Lines(parts)
