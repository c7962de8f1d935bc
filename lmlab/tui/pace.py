"""How often the screen follows the events: often enough to read along, and never so often that a key has to wait.

Knows nothing of what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lmlab.tui.state import Clock

_FRAME_S = 1 / 20
# After an update that took long, drawn and all, keys have at least this many times as long to themselves.
_REST = 3
# Numbers that change more often than this cannot be read.
_NUMBERS_S = 0.25


class Pace:
    """``work`` tells how long this thread has been at work; without it, all time counts as work."""

    def __init__(self, clock: Clock, work: Clock | None = None) -> None:
        self._clock = clock
        self._work = work or clock
        self._began = self._work()
        self._next = clock()
        self._numbers = clock()

    def wait(self) -> float:
        """Return the seconds until the next update may be; 0 or less is now."""
        return self._next - self._clock()

    @contextmanager
    def update(self) -> Iterator[None]:
        """What is done inside is one update; ``drawn`` is to be called once it is on the screen."""
        self._began = self._work()
        yield
        self._next = self._clock() + _FRAME_S
        self.drawn()

    def drawn(self) -> None:
        """What the latest update has changed is on the screen, as far as it goes."""
        self._next = max(self._next, self._clock() + _REST * (self._work() - self._began))

    def numbers_due(self, streaming: bool) -> bool:
        """Whether to show numbers now: always, but while a reply streams only a few times a second."""
        now = self._clock()
        if streaming and now - self._numbers < _NUMBERS_S:
            return False
        self._numbers = now
        return True
