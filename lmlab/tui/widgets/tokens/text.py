"""A reply as tokens: drawn line by line, only what is in sight and what changed. Knows nothing of the chat."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lmlab.tui.widgets.tokens.bands import BANDS
from lmlab.tui.widgets.tokens.flow import Flow, Piece
from lmlab.tui.widgets.tokens.spelling import MARKS


class TokenText(ScrollView):
    """Posts ``Pointed`` where a token is clicked. ``begin``, ``add`` and ``mark`` say what it shows."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        *(f"tokens--{one.name}" for one in BANDS),
        "tokens--unknown",
        "tokens--mark",
        "tokens--here",
    }

    class Pointed(Message):
        """A token was clicked."""

        def __init__(self, at: int) -> None:
            super().__init__()
            self.at = at

    def __init__(self) -> None:
        super().__init__(id="token-text")
        self.can_focus = False
        self._texts: list[str] = []
        self._bands: list[str | None] = []
        self._flow = Flow(1)
        self._at: int | None = None
        self._styles_of: dict[str, Style] = {}

    @property
    def flow(self) -> Flow:
        return self._flow

    @property
    def count(self) -> int:
        """How many tokens are shown."""
        return len(self._texts)

    @property
    def page(self) -> int:
        """How many lines a page is."""
        return max(1, self.scrollable_content_region.height - 1)

    def begin(self) -> None:
        """Show another reply, from nothing."""
        self._texts.clear()
        self._bands.clear()
        self._at = None
        self._lay_out()
        self.scroll_to(y=0, animate=False)

    def add(self, texts: Sequence[str], bands: Sequence[str | None]) -> None:
        """Show more tokens at the end."""
        if not texts:
            return
        before = len(self._flow.lines)
        self._texts += texts
        self._bands += bands
        for text in texts:
            self._flow.append(text)
        self._resize_content()
        # The last word may have moved to a line of its own.
        self.refresh_lines(before - 1, len(self._flow.lines) - before + 1)

    def paint(self, bands: Sequence[str | None]) -> None:
        """Colour the tokens that are shown anew, where that changes anything."""
        if list(bands) != self._bands:
            self._bands = list(bands)
            self.refresh()

    def mark(self, at: int | None) -> None:
        """Show which token is selected; one that was not before is brought into sight."""
        if at is not None and at >= self.count:
            at = None
        if at == self._at:
            return
        for token in (self._at, at):
            if token is not None and token < self.count:
                self._refresh_token(token)
        self._at = at
        if at is not None:
            self._reveal(at)

    def render_line(self, y: int) -> Strip:
        line = int(self.scroll_offset.y) + y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if line >= len(self._flow.lines):
            return Strip.blank(width, base)
        segments: list[Segment] = []
        for piece in self._flow.lines[line]:
            segments += self._segments(piece)
        return Strip(segments).adjust_cell_length(width, base)

    def on_resize(self) -> None:
        if self._flow.width != self.scrollable_content_region.width:
            self._lay_out()
            if self._at is not None:
                self._reveal(self._at)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        token = self._flow.at(offset.y + int(self.scroll_offset.y), offset.x)
        if token is not None:
            self.post_message(self.Pointed(token))

    def _segments(self, piece: Piece) -> list[Segment]:
        if piece.token == self._at:
            return [Segment(piece.text, self._style("here"))]
        style = self._style(self._bands[piece.token] or "unknown")
        # Marks recede, so that the words can still be read.
        faint = style + Style(color=self._style("mark").color, bold=False, underline=False)
        found: list[Segment] = []
        begin = 0
        for index, character in enumerate(piece.text):
            if character in MARKS:
                if index > begin:
                    found.append(Segment(piece.text[begin:index], style))
                found.append(Segment(character, faint))
                begin = index + 1
        if begin < len(piece.text):
            found.append(Segment(piece.text[begin:], style))
        return found

    def _style(self, name: str) -> Style:
        if (style := self._styles_of.get(name)) is None:
            style = self._styles_of[name] = self.get_component_rich_style(f"tokens--{name}")
        return style

    def _lay_out(self) -> None:
        self._flow = Flow(self.scrollable_content_region.width)
        for text in self._texts:
            self._flow.append(text)
        self._resize_content()
        self.refresh()

    def _resize_content(self) -> None:
        size = Size(self._flow.width, len(self._flow.lines))
        if size != self.virtual_size:
            self.virtual_size = size

    def _reveal(self, at: int) -> None:
        line = self._flow.line_of(at)
        top, height = int(self.scroll_offset.y), max(1, self.scrollable_content_region.height)
        if line < top:
            self.scroll_to(y=line, animate=False)
        elif line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False)

    def _refresh_token(self, token: int) -> None:
        line = self._flow.line_of(token)
        lines = 1
        while line + lines < len(self._flow.lines) and any(
            piece.token == token for piece in self._flow.lines[line + lines]
        ):
            lines += 1
        self.refresh_lines(line, lines)
