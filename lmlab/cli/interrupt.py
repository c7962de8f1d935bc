"""Ctrl-C: the first stops what is under way, the second ends the program. The other signals that end it, too."""

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


@contextmanager
def endings_raised() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise SystemExit with 128 and their number, so that what is unsaved can be saved.

    Each does so once: a second kills. What the shell told the program to ignore stays ignored.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise SystemExit(128 + number)

    # Windows has no SIGHUP.
    endings = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in endings}
    taken = [number for number in endings if before[number] != signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)
