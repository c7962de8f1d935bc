"""Ctrl-C: the first stops what is under way, the second ends the program."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """Within, the first Ctrl-C calls ``stop`` and every later one raises KeyboardInterrupt.

    ``stop`` runs inside a signal handler: it may take no lock. Where the shell told the program to ignore interrupts
    (a job in the background), they stay ignored.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
