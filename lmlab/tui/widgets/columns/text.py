"""The text of a column: it scrolls by itself, so that what is appended moves nothing else. Knows nothing of its neighbours."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from textual import events
from textual.content import Content
from textual.geometry import Region, Size
from textual.strip import Strip

from lmlab.tui.markdown import Block, MarkdownSource, lay_out
from lmlab.tui.widgets.prose import Prose

# Beside the text: a space, the line that tells where in the text one is, a space.
_MARGIN_CELLS = 3
_WHEEL_LINES = 3


class ColumnText(Prose):
    """As high as it is told. It follows its end once something is appended, until somebody scrolls up.

    While it is not ``laid_out``, what is appended waits as it is. ``apart``: a line parts it from what is on its right.
    ``changed`` is called when it has more or fewer lines than before.
    """

    COMPONENT_CLASSES = {"column--track", "column--thumb"}  # noqa: RUF012 - Textual's own declaration

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self.laid_out = False
        self._apart = True
        self._begun = False
        self._top = 0
        self._following = False
        self._waiting: list[str] = []
        self._over: Content | None = None
        self._tracks: dict[str, Strip] = {}

    @property
    def following(self) -> bool:
        """Whether the end stays in sight as the text grows."""
        return self._following

    @property
    def line_count(self) -> int:
        return len(self._lines)

    def show(self, laid_out: bool, apart: bool = True) -> None:
        """Begin or cease to lay out what is appended."""
        self.laid_out = laid_out
        if apart != self._apart:
            self._apart = apart
            self.refresh()
        if laid_out and self._waiting:
            text = "".join(self._waiting)
            self._waiting.clear()
            self._add(text)

    def append(self, text: str) -> None:
        if not self._begun:
            self._begun = self._following = True
        if self.laid_out:
            self._add(text)
        else:
            self._waiting.append(text)

    def set_text(self, text: str) -> None:
        """Show ``text`` from its beginning."""
        self._source = MarkdownSource()
        self._waiting.clear()
        self._begun = bool(text)
        self._following = False
        self._top = 0
        if text:
            if self.laid_out:
                self._add(text)
            else:
                self._waiting.append(text)
        self._lay_out()
        self.refresh()

    def overlay(self, content: Content | None) -> None:
        """Show ``content``, which is safe, in place of the text; None: the text again."""
        self._over = content
        self._lay_out()
        self._go(self._top)
        self.refresh()

    def follow(self) -> None:
        """Go to the end and stay there."""
        self._following = True
        self._go(self._last_top)

    def scroll(self, where: str) -> None:
        """``up``, ``down``, ``page_up``, ``page_down``, ``home``, or to the ``end`` and stay there."""
        page = max(1, self.size.height - 1)
        to = {
            "up": self._top - 1,
            "down": self._top + 1,
            "page_up": self._top - page,
            "page_down": self._top + page,
            "home": 0,
            "end": self._last_top,
        }[where]
        self._scroll_as_wanted(to)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._fit_column(width)
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        # The compositor asks after a change of size and before the event that tells of it.
        self._fit_column(self.content_size.width)
        return Strip.join([self._line(self._top + y), self._track(y)])

    def notify_style_update(self) -> None:
        self._tracks.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        self._fit_column(self.content_size.width)
        self._go(self._last_top if self._following else self._top)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, -_WHEEL_LINES)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, _WHEEL_LINES)

    @property
    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _add(self, text: str) -> None:
        before = len(self._lines)
        start = self._feed(text)
        if not self._width or self._over is not None:
            return
        longer = len(self._lines) != before
        if longer:
            self._changed()
        top = self._last_top if self._following else self._top
        if top != self._top or (longer and len(self._lines) > self.size.height):
            self._top = top
            self.refresh()
        elif start - top < self.size.height:
            self.refresh(Region(0, max(0, start - top), self.size.width, self.size.height))

    def _lay_out(self) -> None:
        if not self._width:
            return
        before = len(self._lines)
        if self._over is None:
            super()._lay_out()
        else:
            self._strips.clear()
            self._starts, self._lines = [], lay_out(Block(self._over), self._width)
        if len(self._lines) != before:
            self._changed()

    def _feed(self, text: str) -> int:
        if self._over is None:
            return super()._feed(text)
        shown, self._width = self._width, 0
        super()._feed(text)
        self._width = shown
        return 0

    def _fit_column(self, width: int) -> None:
        self._fit(max(0, width - _MARGIN_CELLS))

    def _go(self, top: int) -> None:
        top = min(self._last_top, max(0, top))
        if top != self._top:
            self._top = top
            self.refresh()

    def _scroll_as_wanted(self, top: int) -> bool:
        """Scroll as somebody wants; return whether that moved anything."""
        before = self._top
        self._go(top)
        self._following = self._top >= self._last_top
        return self._top != before

    def _wheel(self, event: events.MouseEvent, lines: int) -> None:
        # At either end the wheel goes on to what is around.
        if self._scroll_as_wanted(self._top + lines):
            event.stop()

    def _track(self, y: int) -> Strip:
        """The line beside the text; where there is more than is in sight, heavy in the part that is."""
        height, total = self.size.height, len(self._lines)
        heavy = total > height > 0 and self._top * height // total <= y <= (self._top + height) * height // total
        drawn = "┃" if heavy else "│" if self._apart else " "
        if (strip := self._tracks.get(drawn)) is None:
            style = self.get_component_rich_style("column--thumb" if heavy else "column--track")
            blank = self.rich_style
            strip = Strip([Segment(" ", blank), Segment(drawn, style), Segment(" ", blank)], _MARGIN_CELLS)
            self._tracks[drawn] = strip
        return strip
