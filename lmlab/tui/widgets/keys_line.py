"""The line at the bottom: the keys that work now, the most useful first, as many as fit. A click on one presses it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.widget import Widget

from lmlab.tui.keymap import textual_names
from lmlab.tui.keys import Hint

_GAP = "   "


class KeysLine(Widget):
    COMPONENT_CLASSES = {"keys--key", "keys--text"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._hints: tuple[Hint, ...] = ()
        self._last: Hint | None = None

    def show(self, hints: Sequence[Hint], last: Hint | None = None) -> None:
        """Show as many of ``hints`` as fit, and after them ``last`` in any case."""
        if (tuple(hints), last) != (self._hints, self._last):
            self._hints, self._last = tuple(hints), last
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked; those that stand for several are left alone."""
        at = event.get_content_offset_capture(self).x
        start = 0
        for hint in self._shown():
            end = start + _one(hint).cell_length
            if start <= at < end and (names := textual_names(hint.key)):
                character = hint.key if len(hint.key) == 1 else None
                self.app.post_message(events.Key(names[0], character))
            start = end + len(_GAP)

    def render(self) -> Content:
        return Content(_GAP).join(map(_one, self._shown()))

    def _shown(self) -> list[Hint]:
        last = [] if self._last is None else [self._last]
        room = self.content_size.width - sum(_one(hint).cell_length for hint in last)
        shown: list[Hint] = []
        for hint in self._hints:
            room -= _one(hint).cell_length + (len(_GAP) if shown or last else 0)
            if room < 0:
                break
            shown.append(hint)
        return shown + last


def _one(hint: Hint) -> Content:
    return Content.assemble((hint.key, ".keys--key"), (f" {hint.text}", ".keys--text"))
