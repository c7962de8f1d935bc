"""A line in which something is asked: what to search for, a title, a file. Knows nothing of what is done with it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static


class AskInput(Input):
    """Escape gives up; the arrows are for the list below."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "give_up", show=False),
        Binding("up", "walk(-1)", show=False),
        Binding("down", "walk(1)", show=False),
    ]

    class GivenUp(Message):
        pass

    class Walked(Message):
        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def action_give_up(self) -> None:
        self.post_message(self.GivenUp())

    def action_walk(self, by: int) -> None:
        self.post_message(self.Walked(by))


class AskLine(Horizontal):
    """``what`` is being asked, None when nothing is: then it stands there for a search. Answered or Changed say what was
    typed. It always takes its line, so that nothing has to move for it."""

    class Answered(Message):
        def __init__(self, what: str, text: str) -> None:
            super().__init__()
            self.what, self.text = what, text

    class Changed(Answered):
        """It is being typed."""

    class Closed(Message):
        """It was given up."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def __init__(self) -> None:
        super().__init__(id="sessions-ask")
        self._label = Static()
        self._input = AskInput(compact=True, select_on_focus=False)
        self.what: str | None = None

    @property
    def text(self) -> str:
        return self._input.value

    def compose(self) -> ComposeResult:
        yield self._label
        yield self._input

    def on_mount(self) -> None:
        self.close()

    def ask(self, what: str, label: str, text: str = "", placeholder: str = "") -> None:
        """Ask for ``what``, with ``text`` typed already."""
        self._show(what, Content.styled(f"{label} › ", "$text-accent"), text, placeholder)
        self._input.cursor_position = len(text)
        self._input.focus()

    def close(self) -> None:
        """Ask nothing."""
        self._show(None, Content.styled("search › ", "$text-muted"), "", "")

    def _show(self, what: str | None, label: Content, text: str, placeholder: str) -> None:
        self.what = what
        self._label.update(label)
        self._input.placeholder = placeholder
        with self.prevent(Input.Changed):
            self._input.value = text

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.what is not None:
            self.post_message(self.Changed(self.what, event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self.what is not None:
            self.post_message(self.Answered(self.what, event.value))

    def on_ask_input_given_up(self, event: AskInput.GivenUp) -> None:
        event.stop()
        if self.what is not None:
            self.post_message(self.Closed(self.what))
