"""Tokens laid out in lines: wrapped between words where it can be, where a token stands, and which token stands there.

Grows at its end without laying out what came before. Knows nothing of probabilities or widgets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.cells import cell_len, chop_cells

from lmlab.tui.widgets.tokens.spelling import NEWLINE, SPACE

# A word longer than this share of a line is broken between its tokens: moved whole, it would leave a hole.
_WORD_SHARE = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands on one line of ``token``: ``text`` from cell ``x`` on."""

    token: int
    text: str
    x: int
    width: int

    @property
    def begins_word(self) -> bool:
        return self.text.startswith(SPACE)


class Flow:
    """``lines`` of pieces, no wider than ``width`` cells. ``count`` tokens are laid out."""

    def __init__(self, width: int) -> None:
        self.width = max(1, width)
        self.lines: list[list[Piece]] = [[]]
        self._line_of: list[int] = []

    @property
    def count(self) -> int:
        return len(self._line_of)

    def append(self, text: str) -> None:
        """Add the next token by its shown text. A line ends after each newline mark."""
        token = self.count
        self._line_of.append(-1)
        parts = text.split(NEWLINE)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            if part or not last:
                self._place(token, part if last else part + NEWLINE)
            if not last:
                self.lines.append([])

    def line_of(self, token: int) -> int:
        """Return the line on which ``token`` begins."""
        return self._line_of[token]

    def at(self, line: int, x: int) -> int | None:
        """Return the token that stands there."""
        if not 0 <= line < len(self.lines):
            return None
        return next((piece.token for piece in self.lines[line] if piece.x <= x < piece.x + piece.width), None)

    def moved(self, token: int, lines: int) -> int:
        """Return the token ``lines`` below (above, when negative) ``token``, the nearest there; at an edge the last."""
        line, x = self._line_of[token], self._first(token).x
        target = line + lines
        step = 1 if lines > 0 else -1
        while 0 <= target < len(self.lines) and not self.lines[target]:
            target += step
        if target < 0:
            return 0
        if target >= len(self.lines):
            return self.count - 1
        return min(self.lines[target], key=lambda piece: _distance(piece, x)).token

    def _first(self, token: int) -> Piece:
        return next(piece for piece in self.lines[self._line_of[token]] if piece.token == token)

    def _end(self) -> int:
        line = self.lines[-1]
        return line[-1].x + line[-1].width if line else 0

    def _place(self, token: int, text: str) -> None:
        width = cell_len(text)
        if self._end() + width > self.width and self.lines[-1]:
            self._wrap(text)
        for number, part in enumerate(chop_cells(text, self.width) if width > self.width else [text]):
            if number:
                self.lines.append([])
            if self._line_of[token] < 0:
                self._line_of[token] = len(self.lines) - 1
            self.lines[-1].append(Piece(token, part, self._end(), cell_len(part)))

    def _wrap(self, text: str) -> None:
        """Begin a line, and take along the beginning of the word that goes on."""
        line = self.lines[-1]
        start = len(line)
        if not text.startswith((SPACE, NEWLINE)):
            start = next((index for index in range(len(line) - 1, 0, -1) if line[index].begins_word), len(line))
            carried = self._end() - line[start].x if start < len(line) else 0
            if carried > min(self.width // _WORD_SHARE, self.width - cell_len(text)):
                start = len(line)
        self.lines.append([])
        taken = line[start:]
        del line[start:]
        for piece in taken:
            if self._line_of[piece.token] == len(self.lines) - 2:
                self._line_of[piece.token] = len(self.lines) - 1
            self.lines[-1].append(replace(piece, x=self._end()))


def _distance(piece: Piece, x: int) -> int:
    return max(piece.x - x, 0, x - (piece.x + piece.width - 1))
