"""Ctrl-C: the first stops what is under way, the second ends the program. The other signals that end it, too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from lmlab.signal_handlers import handled


@contextmanager
def first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within, the first Ctrl-C calls ``stop`` and every later one raises KeyboardInterrupt.

    ``stop`` runs inside a signal handler: it may take no lock. Where the shell told the program to ignore interrupts
    (a job in the background), they stay ignored.
    """

    def handle(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    with handled(("SIGINT",), handle):
        yield


@contextmanager
def endings_raised() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise SystemExit with 128 and their number, so that what is unsaved can be saved.

    Each does so once: a second kills. What the shell told the program to ignore stays ignored.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    with handled(("SIGTERM", "SIGHUP"), handle):
        yield
