"""The rows of a tree of turns, one line each, and a cursor over them. Knows nothing of the chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region

from lmlab.lab.tree import Row
from lmlab.store import Turn
from lmlab.terminal_text import one_line
from lmlab.tui.status import short_name
from lmlab.tui.widgets.cursor_rows import CursorRows

_INDENT = 2
_NAME_CELLS = 12
_CURSOR, _ON_PATH = "›", "●"


class TreeRows(CursorRows[Row]):
    """Shows what ``show`` was given last. Picked: the conversation shall go on from the row at the cursor."""

    LIT = "tree--cursor"
    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "tree--cursor",
        "tree--path",
        "tree--muted",
        "tree--name",
        "tree--error",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "beside(-1)", show=False),
        Binding("right", "beside(1)", show=False),
    ]

    def __init__(self) -> None:
        super().__init__("tree-rows")
        self._numbers: dict[int, int] = {}
        self._live: Turn | None = None

    def number(self, turn: Turn) -> int:
        """Return which of all turns it is, oldest first, from 1."""
        return self._numbers[turn.id]

    def show(self, rows: Sequence[Row], at: int | None) -> None:
        """Show ``rows``, the cursor at the turn ``at``; where that is none of them, at the row it was at."""
        self._live = None
        self._numbers = {name: number for number, name in enumerate(sorted(row.turn.id for row in rows), 1)}
        self.put(tuple(rows), next((index for index, row in enumerate(rows) if row.turn.id == at), None))

    def grow(self, turn: Turn) -> None:
        """Show ``turn``, which is among the rows, as it stands now."""
        self._live = turn
        place = next((index for index, row in enumerate(self._rows) if row.turn.id == turn.id), None)
        if place is not None:
            self.refresh(Region(0, place - round(self.scroll_y), self.size.width, 1))

    def turn_of(self, row: Row) -> Turn:
        """Return the turn of ``row`` as it stands."""
        return self._live if self._live is not None and self._live.id == row.turn.id else row.turn

    def action_beside(self, by: int) -> None:
        """Go to the sibling before or after; where there is none, to the nearest fork above or below."""
        if not self._rows:
            return
        here = self._rows[self._cursor]
        beside = {
            row.place: index
            for index, row in enumerate(self._rows)
            if row.turn.parent == here.turn.parent and row.of > 1
        }
        if here.place + by in beside:
            self.go(beside[here.place + by])
            return
        forks = [index for index, row in enumerate(self._rows) if row.of > 1 and (index - self._cursor) * by > 0]
        if forks:
            self.go(forks[0] if by > 0 else forks[-1])

    def line(self, place: int, line: int, width: int) -> Content:
        row = self._rows[place]
        turn = self.turn_of(row)
        number = f"{self._numbers[turn.id]:>{len(str(len(self._rows)))}}"
        mark = _ON_PATH if row.node.selected else " "
        head = f"{_CURSOR if place == self._cursor else ' '} {mark} "
        reply = turn.reply
        name = "you" if reply is None else one_line(short_name(reply.model) if reply.model else "reply", _NAME_CELLS)
        weight = ".tree--path" if row.node.selected else ""
        return Content.assemble(
            (head, weight),
            (f"{number} ", ".tree--muted"),
            self._indent(row.depth, width),
            (f"{name:<{_NAME_CELLS}} ", ".tree--muted" if reply is None else ".tree--name"),
            (f"{row.place} of {row.of} · " if row.of > 1 else "", ".tree--muted"),
            (f"from token {reply.branch.at + 1} · " if reply is not None and reply.branch else "", ".tree--muted"),
            _said(turn, width, weight),
        ).truncate(width, ellipsis=True)

    def _indent(self, depth: int, width: int) -> Content:
        """A deep branch is not pushed out of sight: it stands at a third of the width and says how deep it is."""
        most = max(1, width // 3 // _INDENT)
        if depth <= most:
            return Content(" " * (_INDENT * depth))
        return Content.styled(f"{'»' + str(depth):<{_INDENT * most}} ", ".tree--muted")


def _said(turn: Turn, width: int, weight: str) -> Content:
    """The beginning of what was said, on one line."""
    if turn.content.strip() or turn.reply is None:
        named = turn.content or ", ".join(file.name for file in turn.attachments)
        # Only as much as can be seen: a message may hold a whole book.
        return Content.styled(one_line(named[: 4 * width], width), weight)
    if turn.reply.error:
        return Content.styled(one_line(turn.reply.error, width), ".tree--error")
    return Content.styled("nothing was said" if turn.reply.status == "done" else "…", ".tree--muted")
