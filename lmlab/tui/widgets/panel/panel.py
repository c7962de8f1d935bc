"""The sampling panel: keys and mouse to changes. Knows nothing of the chat; it says what a person wants."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lmlab.errors import LmlabError
from lmlab.tui.format import bar
from lmlab.tui.widgets.panel.row_kind import RowKind
from lmlab.tui.widgets.panel.rows import ROWS
from lmlab.tui.widgets.panel.view import SamplingView

_LABEL_CELLS = 19
_VALUE_CELLS = 6
_BAR_CELLS = 8
_BAR_START = _LABEL_CELLS + 2 + _VALUE_CELLS
_FIRST_ROW = 1
_TYPED = frozenset("0123456789.-+e")
_ACTIONS = {
    "up": "move(-1)",
    "down": "move(1)",
    "home": "move(-99)",
    "end": "move(99)",
    "left": "nudge(-1)",
    "right": "nudge(1)",
    "shift+left": "nudge(-10)",
    "shift+right": "nudge(10)",
    "backspace": "erase",
    "delete": "erase",
    "enter": "set",
    "escape": "escape",
    "tab": "back",
    "shift+tab": "back",
    "u": "undo",
}
_MARKS = {"set": "•", "template": "▪", "model": "◆", "default": " "}
_LEGEND = (("set", "• set"), ("template", "▪ from the template"), ("model", "◆ from the model's file"))


class SamplingPanel(Widget, can_focus=True):
    """One row a parameter. Posts ``Changed`` and ``UndoWanted``; shows what ``show`` was given last."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "panel--title",
        "panel--set",
        "panel--idle",
        "panel--help",
        "panel--bar",
        "panel--error",
        "panel--cursor",
    }

    class Changed(Message):
        """``name`` shall be ``value``; None unsets it."""

        def __init__(self, name: str, value: Any) -> None:
            super().__init__()
            self.name = name
            self.value = value

    class UndoWanted(Message):
        """The last change shall be taken back."""

    class Left(Message):
        """The keys shall go back to the input."""

    class Escaped(Message):
        """Escape with no typed value to abandon."""

    class TypingChanged(Message):
        """A value is being typed, or no longer."""

    def __init__(self) -> None:
        super().__init__(id="panel")
        self._view = SamplingView()
        self._cursor = 0
        self._typed: str | None = None
        self._error: str | None = None

    @property
    def typing(self) -> bool:
        return self._typed is not None

    @property
    def name_at_cursor(self) -> str:
        return self._row.name

    def show(self, view: SamplingView) -> None:
        if view != self._view:
            self._view = view
            self.refresh()

    def refuse(self, error: str) -> None:
        """Say why the last change was not made."""
        self._error = error
        self.refresh()

    def action_move(self, by: int) -> None:
        self._abandon()
        self._cursor = min(len(ROWS) - 1, max(0, self._cursor + by))

    def action_nudge(self, steps: int) -> None:
        self._abandon()
        self._nudge(self._row, steps)

    def action_erase(self) -> None:
        """Take back a typed character; with nothing typed, unset the value."""
        if self._typed is not None:
            self._type(self._typed[:-1] or None)
        else:
            self._change(self._row, self._row.erased(self._view))

    def action_set(self) -> None:
        """Set what was typed."""
        if self._typed is None:
            return
        try:
            value = self._row.parsed(self._view, self._typed)
        except LmlabError as error:
            self.refuse(str(error))
            return
        self._type(None)
        self._change(self._row, value)

    def action_escape(self) -> None:
        if self._typed is None:
            self.post_message(self.Escaped())
        self._abandon()

    def action_back(self) -> None:
        self._abandon()
        self.post_message(self.Left())

    def action_undo(self) -> None:
        if self._row.free_text:
            self._type((self._typed or "") + "u")
            return
        self._abandon()
        self.post_message(self.UndoWanted())

    async def on_key(self, event: events.Key) -> None:
        # Here and not as bindings: those run after what was typed next.
        if (action := _ACTIONS.get(event.key)) is not None:
            event.stop()
            await self.run_action(action)
        elif event.character in _TYPED or (self._row.free_text and event.is_printable):
            event.stop()
            self._type((self._typed or "") + (event.character or ""))

    def on_blur(self) -> None:
        self._abandon()

    def on_click(self, event: events.Click) -> None:
        index = self._row_under(event)
        if index is None:
            return
        self._abandon()
        self._cursor = index
        at = event.get_content_offset_capture(self).x - _BAR_START
        if 0 <= at < _BAR_CELLS + 2 and (value := self._row.at((at - 0.5) / _BAR_CELLS)) is not None:
            self._change(self._row, value)
        self.refresh()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, -1)

    def render(self) -> Content:
        title = Content.styled("Sampling", ".panel--title")
        lines = [title, *(self._row_line(index) for index in range(len(ROWS))), Content("")]
        return Content("\n").join([*lines, *self._foot()])

    def _row_line(self, index: int) -> Content:
        shown = ROWS[index].shown(self._view)
        here = index == self._cursor and self.has_focus
        pointer = Content.styled("›", ".panel--cursor") if here else Content(" ")
        if here and self._typed is not None:
            return pointer + f"{shown.label:<{_LABEL_CELLS}} " + Content.styled(f"{self._typed}▁", ".panel--set")
        mark = "…" if shown.waiting else _MARKS[shown.origin]
        value = f"{mark}{shown.value:<{_VALUE_CELLS}}"
        gauge = bar(shown.fraction, _BAR_CELLS) if shown.fraction is not None else ""
        if shown.idle:
            return pointer + Content.styled(f"{shown.label:<{_LABEL_CELLS}}{value}{gauge}", ".panel--idle")
        value_style = ".panel--set" if shown.origin == "set" else ""
        text = Content.assemble(
            (f"{shown.label:<{_LABEL_CELLS}}", ".panel--cursor" if here else ""),
            (value, value_style),
            (gauge, ".panel--bar"),
        )
        return pointer + text

    def _foot(self) -> list[Content]:
        """What the row under the cursor means, what has no effect and why, and what the marks say."""
        lines = []
        if self._error is not None:
            lines.append(Content.styled(self._error, ".panel--error"))
        elif self.has_focus:
            lines.append(Content.styled(self._row.help(self._view), ".panel--help"))
        for reason, names in self._view.reasons().items():
            lines.append(Content.styled(f"{names}: {reason}", ".panel--help"))
        origins = {row.shown(self._view).origin for row in ROWS}
        legend = [text for name, text in _LEGEND if name in origins]
        if legend:
            lines.append(Content.styled("   ".join(legend), ".panel--help"))
        return lines

    @property
    def _row(self) -> RowKind:
        return ROWS[self._cursor]

    def _type(self, typed: str | None) -> None:
        self._typed = typed
        self._error = None
        self.refresh()
        self.post_message(self.TypingChanged())

    def _abandon(self) -> None:
        self._type(None)

    def _change(self, row: RowKind, value: Any) -> None:
        if value != row.asked(self._view):
            self.post_message(self.Changed(row.name, value))

    def _nudge(self, row: RowKind, steps: int) -> None:
        if (value := row.nudged(self._view, steps)) is not None:
            self._change(row, value)

    def _wheel(self, event: events.MouseEvent, steps: int) -> None:
        if (index := self._row_under(event)) is not None:
            event.stop()
            self._cursor = index
            self._nudge(self._row, steps)

    def _row_under(self, event: events.MouseEvent) -> int | None:
        offset = event.get_content_offset(self)
        if offset is None or not 0 <= offset.y - _FIRST_ROW < len(ROWS):
            return None
        return offset.y - _FIRST_ROW
