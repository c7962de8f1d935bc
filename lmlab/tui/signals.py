"""What signals do to the chat on the screen: it ends as if the person had left, and the terminal is given back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from textual.app import App

from lmlab.errors import LmlabError
from lmlab.signal_handlers import handled


@contextmanager
def answered(app: App[int], stop: Callable[[], bool], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Within, a signal that would kill the program ends ``app``, run by ``loop``, with 128 and its number.

    An interrupt first stops what is under way, if ``stop`` says that there was something. What the shell told the program to ignore stays ignored.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(app.call_later, answer, app, stop, number)

    with handled(("SIGINT", "SIGTERM", "SIGHUP"), handle):
        yield


def answer(app: App[int], stop: Callable[[], bool], number: int) -> None:
    """Do what signal ``number`` asks of ``app``."""
    if number != signal.SIGINT or not stop():
        app.exit(128 + number)


@contextmanager
def suspended(app: App[int]) -> Iterator[None]:
    """Within, the terminal is another program's, and so is Ctrl+C. Errors of lmlab's own come out of it."""
    failure: LmlabError | None = None
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        with app.suspend():
            # Textual takes the terminal back only when nothing is raised.
            try:
                yield
            except LmlabError as error:
                failure = error
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if failure is not None:
        raise failure
