"""The rows of a tree of turns, one line each, and a cursor over them. Knows nothing of the chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

from lmlab.lab.tree import Row
from lmlab.store import Turn
from lmlab.terminal_text import one_line
from lmlab.tui.status import short_name

_INDENT = 2
_NAME_CELLS = 12
_CURSOR, _ON_PATH = "›", "●"


class TreeRows(ScrollView, can_focus=True):
    """Shows what ``show`` was given last. The arrows walk; Enter, or a click on the row at the cursor, posts Picked."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "tree--cursor",
        "tree--path",
        "tree--muted",
        "tree--name",
        "tree--error",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("left", "beside(-1)", show=False),
        Binding("right", "beside(1)", show=False),
        Binding("home", "move(-1_000_000_000)", show=False),
        Binding("end", "move(1_000_000_000)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("enter", "pick", show=False),
    ]

    class Picked(Message):
        """The conversation shall go on from the row at the cursor."""

    class Moved(Message):
        """The cursor is at another row, or the row is another."""

    def __init__(self) -> None:
        super().__init__(id="tree-rows")
        self._rows: tuple[Row, ...] = ()
        self._numbers: dict[int, int] = {}
        self._live: Turn | None = None
        self._cursor = 0

    @property
    def row(self) -> Row | None:
        """The row at the cursor."""
        return self._rows[self._cursor] if self._rows else None

    def number(self, turn: Turn) -> int:
        """Return which of all turns it is, oldest first, from 1."""
        return self._numbers[turn.id]

    def show(self, rows: Sequence[Row], at: int | None) -> None:
        """Show ``rows``, the cursor at the turn ``at``; where that is none of them, at the row it was at."""
        self._rows, self._live = tuple(rows), None
        self._numbers = {name: number for number, name in enumerate(sorted(row.turn.id for row in rows), 1)}
        places = [index for index, row in enumerate(self._rows) if row.turn.id == at]
        self.virtual_size = Size(0, len(self._rows))
        self._go(places[0] if places else self._cursor)
        self.refresh()

    def grow(self, turn: Turn) -> None:
        """Show ``turn``, which is among the rows, as it stands now."""
        self._live = turn
        place = next((index for index, row in enumerate(self._rows) if row.turn.id == turn.id), None)
        if place is not None:
            self.refresh(Region(0, place - round(self.scroll_y), self.size.width, 1))

    def turn_of(self, row: Row) -> Turn:
        """Return the turn of ``row`` as it stands."""
        return self._live if self._live is not None and self._live.id == row.turn.id else row.turn

    def action_move(self, by: int) -> None:
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self._cursor + by * max(1, self.size.height - 1))

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
            self._go(beside[here.place + by])
            return
        forks = [index for index, row in enumerate(self._rows) if row.of > 1 and (index - self._cursor) * by > 0]
        if forks:
            self._go(forks[0] if by > 0 else forks[-1])

    def action_pick(self) -> None:
        if self._rows:
            self.post_message(self.Picked())

    def on_click(self, event: events.Click) -> None:
        place = round(self.scroll_y) + event.get_content_offset_capture(self).y
        if place >= len(self._rows):
            return
        if place == self._cursor:
            self.action_pick()
        else:
            self._go(place)

    def render_line(self, y: int) -> Strip:
        width, place = self.size.width, round(self.scroll_y) + y
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        style = self.get_visual_style("tree--cursor") if place == self._cursor else self.visual_style
        return Visual.to_strips(self, self._line(place, width), width, 1, style, pad=True)[0]

    def _line(self, place: int, width: int) -> Content:
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

    def _go(self, place: int) -> None:
        self._cursor = min(max(0, place), max(0, len(self._rows) - 1))
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())


def _said(turn: Turn, width: int, weight: str) -> Content:
    """The beginning of what was said, on one line."""
    if turn.content.strip() or turn.reply is None:
        named = turn.content or ", ".join(file.name for file in turn.attachments)
        # Only as much as can be seen: a message may hold a whole book.
        return Content.styled(one_line(named[: 4 * width], width), weight)
    if turn.reply.error:
        return Content.styled(one_line(turn.reply.error, width), ".tree--error")
    return Content.styled("nothing was said" if turn.reply.status == "done" else "…", ".tree--muted")
