"""The prompt that all variants were given, above their answers. Knows nothing of comparisons."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from lmlab.terminal_text import visible

_LINES = 4


class Asked(Widget):
    """At most four lines; a longer prompt ends with how much of it is not shown."""

    def __init__(self) -> None:
        super().__init__(id="asked")
        self._text = ""
        self._number = 0

    def show(self, text: str, number: int) -> None:
        """Show ``text`` as prompt ``number``, from 1; 0 is none yet."""
        if (text, number) != (self._text, self._number):
            self._text, self._number = text, number
            self.refresh(layout=True)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return self._content(width).get_height({}, width)

    def render(self) -> Content:
        return self._content(self.content_size.width)

    def _content(self, width: int) -> Content:
        head = Content.assemble(
            ("lmlab compare", "bold $accent"), (f"   prompt {self._number}" if self._number else "", "$text-muted")
        )
        lines = Content(visible(self._text.replace("\r\n", "\n"))).wrap(max(1, width)) if self._text else []
        if len(lines) > _LINES:
            hidden = len(lines) - (_LINES - 1)
            lines = [*lines[: _LINES - 1], Content.styled(f"… {hidden:,} more lines", "$text-muted")]
        return Content("\n").join([head, *lines])
