"""The rule between transcript and input. It says what the model is doing, so that nothing has to move for it."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from lmlab.terminal_text import one_line

_FLASH_S = 6.0


class Activity(Widget):
    """A line across the screen with a text in it. ``flash`` shows a text for a while, over the one that stays."""

    COMPONENT_CLASSES = {"activity--line", "activity--text", "activity--trouble"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="activity")
        self._text = ""
        self._trouble = False
        self._flash: str | None = None
        self._timer: Timer | None = None

    def show(self, text: str, trouble: bool = False) -> None:
        if (text, trouble) != (self._text, self._trouble):
            self._text, self._trouble = text, trouble
            self.refresh()

    def flash(self, text: str) -> None:
        self._flash = text
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_FLASH_S, self.unflash)
        self.refresh()

    def unflash(self) -> None:
        if self._flash is not None:
            self._flash = None
            self.refresh()

    def render(self) -> Content:
        width = self.size.width
        text = self._flash if self._flash is not None else self._text
        if not text:
            return Content.styled("─" * width, ".activity--line")
        # Whole facts go first; a number cut in two would be another number.
        while cell_len(text) > width - 5 and " · " in text:
            text = text.rpartition(" · ")[0]
        trouble = self._flash is not None or self._trouble
        shown = Content.styled(f" {one_line(text, 500)} ", ".activity--trouble" if trouble else ".activity--text")
        shown = shown.truncate(max(0, width - 3), ellipsis=True)
        return (
            Content.styled("──", ".activity--line")
            + shown
            + Content.styled("─" * max(0, width - 2 - shown.cell_length), ".activity--line")
        )
