"""One figure measured several times: the median, and from the least to the most. Knows nothing of what is measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """``low`` and ``high`` are the least and the most of all ``runs``, which are in the order in which they were made."""

    median: float
    low: float
    high: float
    runs: tuple[float, ...]

    def apart_from(self, other: Spread) -> bool | None:
        """Whether no run of one is within the range of the other's; None when either was measured once only."""
        if len(self.runs) < 2 or len(other.runs) < 2:
            return None
        return self.low > other.high or self.high < other.low


def spread_of(runs: Sequence[float]) -> Spread:
    """Return the spread of ``runs``, of which there must be one at least."""
    return Spread(statistics.median(runs), min(runs), max(runs), tuple(runs))
