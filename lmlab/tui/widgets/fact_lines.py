"""Facts under a text. Knows nothing of what they are about."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from lmlab.terminal_text import one_line, visible
from lmlab.tui.format import break_between_facts

_ERROR = 2000


class FactLines(Widget):
    """Lines of facts, and an error. A line that is too long breaks between two of them, not inside one."""

    def __init__(self, classes: str = "status") -> None:
        super().__init__(classes=classes)
        self._lines: tuple[str, ...] = ()
        self._error = ""

    def show(self, lines: Sequence[str], error: str | None = None) -> bool:
        """Show ``lines``, the empty ones left out; return whether they are others than before."""
        shown = tuple(line for line in lines if line)
        if (shown, error or "") == (self._lines, self._error):
            return False
        width = self.content_size.width
        before = self.height_in(width) if width else None
        self._lines, self._error = shown, error or ""
        # What is around is laid out again only if it has to move.
        self.refresh(layout=before is None or self.height_in(width) != before)
        return True

    def height_in(self, width: int) -> int:
        """Return how many lines it takes, ``width`` cells wide."""
        return self.get_content_height(self.size, self.size, width) if self._lines or self._error else 0

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        # In a window of a few cells no width is left, and text wraps at no less than one.
        return self._content(width).get_height({}, max(1, width))

    def render(self) -> Content:
        return self._content(self.content_size.width)

    def _content(self, width: int) -> Content:
        lines = [Content.styled(break_between_facts(visible(line), width), "$text-muted") for line in self._lines]
        if self._error:
            lines.append(Content.styled(one_line(self._error, _ERROR), "$text-error"))
        return Content("\n").join(lines)
