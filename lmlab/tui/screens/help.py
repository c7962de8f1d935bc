"""The help screen: every key, every command. Knows nothing of the chat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from lmlab.tui.keys import Section


class HelpScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,question_mark,enter", "dismiss", show=False)]

    def __init__(self, keys: Sequence[Section], commands: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._keys = keys
        self._commands = commands

    def compose(self) -> ComposeResult:
        sections = [(title, [(hint.key, hint.text) for hint in hints]) for title, hints in self._keys]
        with VerticalScroll(id="help"):
            yield Static(
                Content.assemble(
                    ("Keys and commands", "bold $text-accent"), ("   esc closes this page", "$text-muted")
                ),
                classes="title",
            )
            commands = [("Commands", self._commands)] if self._commands else []
            for title, entries in (*sections, *commands):
                yield Static(Content.styled(title, "bold"))
                for key, text in entries:
                    with Horizontal(classes="entry"):
                        yield Static(Content.styled(key, "$text-accent"), classes="key")
                        yield Static(Content(text), classes="text")
