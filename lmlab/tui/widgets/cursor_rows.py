"""A list of rows with a cursor over them. Knows nothing of what is in a row."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual

RowT = TypeVar("RowT")


class CursorRows(ScrollView, Generic[RowT], can_focus=True):
    """The arrows walk; Enter, or a click on the row at the cursor, posts Picked.

    LIT is the component class of the row at the cursor. Whoever inherits says what a row looks like, in ``line``.
    """

    LIT: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("home", "move(-1_000_000_000)", show=False),
        Binding("end", "move(1_000_000_000)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("enter", "pick", show=False),
    ]

    class Picked(Message):
        """The row at the cursor is wanted."""

    class Moved(Message):
        """The cursor is at another row, or the row is another."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._rows: tuple[RowT, ...] = ()
        self._cursor = 0
        self._lines = 1

    @property
    def row(self) -> RowT | None:
        """The row at the cursor."""
        return self._rows[self._cursor] if self._rows else None

    def line(self, place: int, line: int, width: int) -> Content:
        """Return a line of the row at ``place``."""
        raise NotImplementedError

    def put(self, rows: tuple[RowT, ...], at: int | None, lines: int = 1) -> None:
        """Show ``rows`` of so many lines each, the cursor at the place ``at``; None: in the place it was."""
        self._rows, self._lines = rows, lines
        self.virtual_size = Size(0, len(rows) * lines)
        self.go(self._cursor if at is None else at)

    def go(self, place: int) -> None:
        """Put the cursor at ``place``, or at the nearest there is."""
        self._cursor = min(max(0, place), max(0, len(self._rows) - 1))
        region = Region(0, self._cursor * self._lines, 1, self._lines)
        self.scroll_to_region(region, animate=False, force=True)
        self.refresh()
        self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        self.go(self._cursor + by)

    def action_page(self, by: int) -> None:
        self.go(self._cursor + by * max(1, self.size.height // self._lines - 1))

    def action_pick(self) -> None:
        if self._rows:
            self.post_message(self.Picked())

    def on_click(self, event: events.Click) -> None:
        place = (round(self.scroll_y) + event.get_content_offset_capture(self).y) // self._lines
        if place >= len(self._rows):
            return
        if place == self._cursor:
            self.action_pick()
        else:
            self.go(place)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        place, line = divmod(round(self.scroll_y) + y, self._lines)
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        style = self.get_visual_style(self.LIT) if place == self._cursor else self.visual_style
        return Visual.to_strips(self, self.line(place, line, width), width, 1, style, pad=True)[0]
