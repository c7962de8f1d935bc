"""Measurements within a time: what one takes is learned, and whether there is time for more is asked before each."""

from __future__ import annotations

import time
from collections.abc import Callable

from lmlab.lab.tuning.rule import Rates
from lmlab.worker.messages import LoadSpec


class Cancelled(Exception):
    """Raised by what measures, once nobody waits any more."""


class Meter:
    """``measure`` loads a model and returns how fast it is. ``seconds``, above 0, is the time for all of it, since ``begun``;
    None is now.

    ``watch`` gets what is being measured, and the share of the time that is over.
    """

    def __init__(
        self,
        measure: Callable[[LoadSpec], Rates],
        *,
        seconds: float,
        watch: Callable[[str, float], None] = lambda what, fraction: None,
        clock: Callable[[], float] = time.monotonic,
        begun: float | None = None,
    ) -> None:
        self._measure = measure
        self._seconds = seconds
        self._watch = watch
        self._clock = clock
        self._begun = clock() if begun is None else begun
        self._expected = 0.0
        self._spent = 0.0
        self._counted = 0
        self.made = 0

    @property
    def elapsed(self) -> float:
        return self._clock() - self._begun

    @property
    def left(self) -> float:
        """Seconds that are left, below 0 when it is late."""
        return self._seconds - self.elapsed

    @property
    def took(self) -> float | None:
        """Seconds that a measurement has taken, since it was last said how long one should; None when none was made."""
        return self._spent / self._counted if self._counted else None

    def expect(self, seconds: float) -> None:
        """From now on a measurement should take ``seconds``: another amount is measured."""
        self._expected, self._spent, self._counted = seconds, 0.0, 0

    def rates(self, spec: LoadSpec, what: str) -> Rates:
        """Measure ``spec`` once. Raises what measuring raises."""
        self._watch(what, min(1.0, self.elapsed / self._seconds))
        begun = self._clock()
        try:
            return self._measure(spec)
        finally:
            self.made += 1
            self._counted += 1
            self._spent += self._clock() - begun

    def affords(self, measurements: int) -> bool:
        """Whether there is time for so many, as long as they have taken so far."""
        return measurements * (self.took or self._expected) <= self.left
