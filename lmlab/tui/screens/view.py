"""What every view over the chat has: it fills the screen, follows the chat, says its keys, and leaves on Escape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widget import Widget

from lmlab.tui.keys import Hint
from lmlab.tui.widgets.keys_line import KeysLine

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp


class ChatView(Screen[None]):
    """A view of the chat. ``view`` is its name in VIEWS.

    Subclasses give ``content``, and override ``catch_up`` to follow what happens and ``hints`` to say their keys.
    """

    view: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self._keys_line = KeysLine()

    @property
    def host(self) -> ChatApp:
        """The application: its ``chat``, its ``state`` and what it can do."""
        return cast("ChatApp", self.app)

    def compose(self) -> ComposeResult:
        yield from self.content()
        yield self._keys_line

    def content(self) -> Sequence[Widget]:
        """Return the widgets of the view, top to bottom; the line of keys goes below them."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Follow the chat: called when the view opens and after events, at most some 20 times a second."""
        self.show_keys()

    def hints(self) -> list[Hint]:
        """Return what keys do here now, the most useful first; stopping a reply and Escape are added."""
        return []

    @property
    def stop_key(self) -> str:
        """The key that stops a reply, Escape being the way back."""
        return self.host.keys.first("interrupt")

    def show_keys(self) -> None:
        stop = [Hint(self.stop_key, "stop")] if self.host.chat.replying else []
        self._keys_line.show([*stop, *self.hints()], last=Hint("esc", "back"))
