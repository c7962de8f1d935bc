"""The prompt that all variants were given, above their answers. Knows nothing of comparisons."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from lmlab.terminal_text import visible

_LINES = 4
# Of a low terminal it takes no more than this part.
_SHARE = 6
# Characters looked at for each cell there is: wrapping swallows spaces, and some characters take no cell.
_LOOKED_AT = 4


class Asked(Widget):
    """At most four lines, fewer where the terminal is low; a longer prompt ends with how long it is."""

    def __init__(self) -> None:
        super().__init__(id="asked")
        self._text = ""
        self._number = 0

    def show(self, text: str, number: int) -> None:
        """Show ``text`` as prompt ``number``, from 1; 0 is none yet."""
        if (text, number) != (self._text, self._number):
            self._text, self._number = text, number
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        width = max(1, width)
        return self._content(width, viewport.height).get_height({}, width)

    def render(self) -> Content:
        return self._content(max(1, self.content_size.width), self.app.size.height)

    def _content(self, width: int, height: int) -> Content:
        most = max(1, min(_LINES, height // _SHARE))
        head = Content.assemble(
            ("lmlab compare", "bold $accent"), (f"   prompt {self._number}" if self._number else "", "$text-muted")
        )
        begun = self._text[: _LOOKED_AT * _LINES * width]
        lines = Content(visible(begun.replace("\r\n", "\n"))).wrap(width) if begun else []
        if len(lines) > most or len(begun) < len(self._text):
            said = Content.styled(f"… {len(self._text):,} characters in all", "$text-muted")
            lines = [*lines[: most - 1], said] if most > 1 else lines[:1]
        return Content("\n").join([head, *lines])
