"""A text that may grow at its end, drawn line by line. Knows nothing of turns, models or scrolling."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget

from lmlab.terminal_text import visible
from lmlab.tui.markdown import Line, MarkdownSource, lay_out

# What stands for every line that is not there.
_BELOW = -1


class Prose(Widget):
    """Markdown on the screen. ``append`` costs what the end of the text costs, whatever its length."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "prose--heading",
        "prose--subheading",
        "prose--em",
        "prose--strong",
        "prose--strike",
        "prose--link",
        "prose--mark",
        "prose--code-comment",
        "prose--code-keyword",
        "prose--code-literal",
        "prose--code-name",
    }

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._source = MarkdownSource()
        self._starts: list[int] = []
        self._lines: list[Line] = []
        self._strips: dict[int, Strip] = {}
        self._width = 0
        if text:
            self._source.feed(visible(text))

    def append(self, text: str) -> None:
        """Add ``text``, made safe, at the end."""
        before = len(self._lines)
        start = self._feed(text)
        if not self._width:
            return
        if len(self._lines) != before:
            self.refresh(layout=True)
        else:
            self.refresh(Region(0, start, self._width, len(self._lines) - start))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._fit(width)
        return len(self._lines)

    def notify_style_update(self) -> None:
        self._strips.clear()
        super().notify_style_update()

    def selection_updated(self, selection: Selection | None) -> None:
        self._strips.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        self._fit(self.content_size.width)
        return self._line(y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Return what is selected as it was before it was wrapped, without the padding of code."""
        text = ""
        for y, line in enumerate(self._lines):
            if (span := selection.get_span(y)) is None:
                continue
            start, end = span
            plain = line.content.plain
            piece = plain[start:] if end == -1 else plain[start:end]
            text = f"{text.rstrip()}{line.joint}{piece}" if text else piece
        return text.rstrip(), "\n"

    def _feed(self, text: str) -> int:
        """Take in ``text``; return the first line that is not as it was. Without a width there are no lines yet."""
        stable, blocks = self._source.feed(visible(text))
        if not self._width:
            return 0
        start = self._starts[stable] if stable < len(self._starts) else len(self._lines)
        before = len(self._lines)
        del self._starts[stable:], self._lines[start:]
        for block in blocks:
            self._starts.append(len(self._lines))
            self._lines += lay_out(block, self._width)
        for y in range(start, before):
            self._strips.pop(y, None)
        return start

    def _fit(self, width: int) -> None:
        if width != self._width:
            self._width = width
            self._lay_out()

    def _lay_out(self) -> None:
        """Make all lines anew."""
        self._strips.clear()
        self._starts, self._lines = [], []
        for block in self._source.blocks:
            self._starts.append(len(self._lines))
            self._lines += lay_out(block, self._width)

    def _line(self, y: int) -> Strip:
        at = y if y < len(self._lines) else _BELOW
        if (strip := self._strips.get(at)) is None:
            below = at == _BELOW
            strip = Strip.blank(self._width, self.rich_style) if below else self._strip(self._lines[y].content, y)
            self._strips[at] = strip
        return strip

    def _strip(self, content: Content, y: int) -> Strip:
        if (selection := self.text_selection) is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            content = content.stylize(style, start, len(content) if end == -1 else end)
        strips = Visual.to_strips(self, content, self._width, 1, self.visual_style, apply_selection=False, pad=True)
        return strips[0].apply_offsets(0, y) if strips else Strip.blank(self._width, self.rich_style)
