"""The line of tabs above columns that do not all fit: which there are, and which are in sight."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

_GAP = 2
_LEAST_NAME = 4


class TabLine(Widget):
    """One tab a column: its number, as much of its name as there is room for, its mark."""

    COMPONENT_CLASSES = {"tabs--shown", "tabs--cursor"}  # noqa: RUF012 - Textual's own declaration
    ALLOW_SELECT = False

    class Pressed(Message):
        """Somebody clicked on a tab."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self) -> None:
        super().__init__(classes="tabs")
        self._tabs: tuple[tuple[str, str], ...] = ()
        self._shown = range(0)
        self._current = 0

    def show(self, tabs: Sequence[tuple[str, str]], shown: range, current: int) -> None:
        """Show ``tabs``, each a mark and a name; those ``shown`` are in sight and one of them is ``current``."""
        if (tuple(tabs), shown, current) != (self._tabs, self._shown, self._current):
            self._tabs, self._shown, self._current = tuple(tabs), shown, current
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        x = event.x
        for index, label in self._placed():
            width = cell_len(label) + _GAP
            if x < width:
                self.post_message(self.Pressed(index))
                return
            x -= width

    def render(self) -> Content:
        line = Content("")
        for index, label in self._placed():
            style = ".tabs--cursor" if index == self._current else ".tabs--shown" if index in self._shown else ""
            line += Content.styled(label, style) + " " * _GAP
        return line

    def _placed(self) -> list[tuple[int, str]]:
        """The tabs on the line. Where even numbers do not all fit, those around what is in sight."""
        width = self.content_size.width
        room = width // max(1, len(self._tabs)) - _GAP
        labels = [self._label(index, room) for index in range(len(self._tabs))]
        fit = max(1, width // max((cell_len(label) + _GAP for label in labels), default=1))
        first = 0 if fit >= len(labels) else max(0, min(self._shown.start - fit // 2, len(labels) - fit))
        return list(enumerate(labels))[first : first + fit]

    @property
    def _told_apart(self) -> bool:
        """Whether names say anything that the numbers do not."""
        return len({name for _, name in self._tabs}) > 1

    def _label(self, index: int, room: int) -> str:
        mark, name = self._tabs[index]
        number = f"{'›' if index == self._current else ' '}{index + 1}"
        end = f" {mark}" if mark else ""
        left = room - cell_len(number + end) - 1
        if left < _LEAST_NAME or not self._told_apart:
            return number + end
        return f"{number} {Content(name).truncate(left, ellipsis=True).plain}{end}"
