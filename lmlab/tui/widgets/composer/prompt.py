"""The input: several lines, Enter sends, the arrows at its edges walk the history. Knows nothing of the chat."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static, TextArea

from lmlab.tui.history import History
from lmlab.tui.widgets.composer.completions import Completions, Offer
from lmlab.tui.widgets.composer.drawn_line import drawn_line

_MARK = "›"
_PLACEHOLDER = "ask something, or / for commands"
_NEW_LINE = ("ctrl+j", "shift+enter", "alt+enter")


class Prompt(TextArea):
    """The text area of the composer. What is typed stays until ``clear`` says that it has arrived.

    ``submit`` is called at Enter, before any key that came after it: a message would be overtaken by what is typed next.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+d", "delete_or_quit", show=False),
        Binding("tab", "tab", show=False),
        Binding("escape", "escape", show=False),
        Binding("pageup", "scroll_transcript('page_up')", show=False),
        Binding("pagedown", "scroll_transcript('page_down')", show=False),
        Binding("ctrl+home", "scroll_transcript('home')", show=False),
        Binding("ctrl+end", "scroll_transcript('end')", show=False),
    ]

    class Wanted(Message):
        """A key that is not for the input: ``panel``, ``quit``, ``stop``, or a way to scroll."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    class Completing(Message):
        """The list of completions opened or closed."""

    def __init__(
        self,
        history: History,
        completions: Completions,
        complete: Callable[[str], list[Offer]],
        submit: Callable[[str], None],
    ) -> None:
        super().__init__(
            id="prompt", compact=True, highlight_cursor_line=False, placeholder=_PLACEHOLDER, tab_behavior="focus"
        )
        self._typed = history
        self._completions = completions
        self._complete = complete
        self._submit = submit
        self._recalled: str | None = None

    @property
    def completing(self) -> bool:
        return self._completions.chosen is not None

    def recall(self, text: str) -> None:
        """Put ``text`` in place of what is there, the cursor at its end."""
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def get_line(self, line_index: int) -> Text:
        """Return a line as it is drawn: what could drive the terminal becomes one character that cannot."""
        return drawn_line(self.document.get_line(line_index))

    async def _on_key(self, event: events.Key) -> None:
        # Here and not as bindings: those run after what was typed next.
        if event.key in _NEW_LINE:
            event.stop()
            event.prevent_default()
            self._insert("\n")
        elif event.key == "enter":
            event.stop()
            event.prevent_default()
            self._close_completions()
            self._submit(self.text)

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        # Terminals send carriage returns for the line ends of a paste.
        self._insert(re.sub("\r\n?", "\n", event.text))

    def on_text_area_changed(self) -> None:
        if self.text == self._recalled:
            return
        self._recalled = None
        self._typed.leave()
        self._completions.offer(self._complete(self.text) if self.text.startswith("/") else [])
        self.post_message(self.Completing())

    def action_tab(self) -> None:
        if (line := self._completions.chosen) is not None:
            self.recall(line)
        else:
            self.post_message(self.Wanted("panel"))

    def action_escape(self) -> None:
        if self.completing:
            self._close_completions()
        else:
            self.post_message(self.Wanted("stop"))

    def action_delete_or_quit(self) -> None:
        if self.text:
            self.action_delete_right()
        else:
            self.post_message(self.Wanted("quit"))

    def action_scroll_transcript(self, where: str) -> None:
        self.post_message(self.Wanted(where))

    def action_cursor_up(self, select: bool = False) -> None:
        if self.completing and not select:
            self._completions.move(-1)
        elif select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        elif (text := self._typed.older(self.text)) is not None:
            self._show_recalled(text)

    def action_cursor_down(self, select: bool = False) -> None:
        if self.completing and not select:
            self._completions.move(1)
        elif select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        elif (text := self._typed.newer()) is not None:
            self._show_recalled(text)

    def action_cursor_line_end(self, select: bool = False) -> None:
        before = self.cursor_location
        super().action_cursor_line_end(select)
        if not select and self.cursor_location == before:
            self.post_message(self.Wanted("end"))

    def _insert(self, text: str) -> None:
        result = self.replace(text, *self.selection, maintain_selection_offset=False)
        self.move_cursor(result.end_location)

    def _show_recalled(self, text: str) -> None:
        self._recalled = text
        self.recall(text)

    def _close_completions(self) -> None:
        if self._completions.chosen is not None:
            self._completions.close()
            self.post_message(self.Completing())


class Composer(Horizontal):
    """The input behind its mark."""

    def __init__(self, prompt: Prompt) -> None:
        super().__init__(id="composer")
        self._prompt = prompt
        self._mark = Static(_MARK, id="mark")

    def compose(self) -> ComposeResult:
        yield self._mark
        yield self._prompt

    def mark(self, text: str = _MARK) -> None:
        """Show ``text`` in front of the input."""
        self._mark.update(text)
