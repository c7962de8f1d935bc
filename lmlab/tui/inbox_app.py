"""What every screen of lmlab's has in common: its themes, events that arrive on other threads, and how it fails.

Knows nothing of chats or comparisons.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual import on
from textual.app import App
from textual.message import Message

from lmlab.tui import themes
from lmlab.tui.driver import driver_class
from lmlab.tui.inbox import Inbox
from lmlab.tui.pace import Pace
from lmlab.tui.state import Clock


class InboxApp(App[int]):
    """Subclasses call ``begin`` once they are on the screen, and drain the inbox in ``follow_events``.

    ``failure`` is the exception that ended it, for whoever ran it, who may set what is done ``at_first_picture``.
    """

    class EventsWaiting(Message):
        """The inbox has something."""

    def __init__(self, inbox: Inbox[Any], clock: Clock) -> None:
        super().__init__(driver_class=driver_class())
        self.failure: Exception | None = None
        self.at_first_picture: Callable[[], None] | None = None
        self._inbox = inbox
        self._pace = Pace(clock, time.thread_time)

    def follow_events(self) -> None:
        """Fold what has come and show it."""
        raise NotImplementedError

    def catch_up(self) -> None:
        """Follow the events as one update: the next leaves the keys their time."""
        self.call_after_refresh(self._pace.drawn)
        with self._pace.update():
            self.follow_events()

    def begin(self) -> None:
        """The first picture is there and keys are taken: from now on hear of what comes."""
        if self.at_first_picture is not None:
            self.at_first_picture()
        self._inbox.connect(self.wake)

    def wake(self) -> None:
        """Called on any thread."""
        self.post_message(self.EventsWaiting())

    def get_css_variables(self) -> dict[str, str]:
        for theme in (themes.DARK, themes.LIGHT):
            if theme.name not in self.available_themes:
                self.register_theme(theme)
        return super().get_css_variables()

    @on(EventsWaiting)
    def _on_events_waiting(self) -> None:
        if (wait := self._pace.wait()) > 0:
            self.set_timer(wait, self.catch_up)
        else:
            self.catch_up()

    def on_unmount(self) -> None:
        self._inbox.connect(None)

    def _handle_exception(self, error: Exception) -> None:
        """Keep an unexpected exception for the caller; Textual would print it with every local variable."""
        if self.failure is None:
            self.failure = error
            self._exception = error
            self._exception_event.set()
        self._return_code = 1
        self._close_messages_no_wait()
