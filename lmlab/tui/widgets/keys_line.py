"""The line at the bottom: the keys that work now, the most useful first, as many as fit."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from lmlab.tui.keys import Hint


class KeysLine(Widget):
    COMPONENT_CLASSES = {"keys--key", "keys--text"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._hints: tuple[Hint, ...] = ()

    def show(self, hints: Sequence[Hint]) -> None:
        if tuple(hints) != self._hints:
            self._hints = tuple(hints)
            self.refresh()

    def render(self) -> Content:
        line = Content("")
        for hint in self._hints:
            one = Content.assemble((hint.key, ".keys--key"), (f" {hint.text}", ".keys--text"))
            joined = line + "   " + one if line else one
            if joined.cell_length > self.content_size.width:
                break
            line = joined
        return line
