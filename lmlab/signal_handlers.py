"""Signals taken over for a while. Knows nothing of what is done about them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handled(names: tuple[str, ...], handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, ``handle`` gets the signals called ``names``, as far as this platform has them (Windows has no SIGHUP).

    What the shell told the program to ignore stays ignored; afterwards all is as it was.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] != signal.SIG_IGN]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number] or signal.SIG_DFL)
