"""Rows that cost less than nothing: a step of 7 rows may take longer than one of 8.

llama.cpp multiplies many weights by four rows at a time, and rows that are left over one by one; which weights depends on
their types and the processor. So a step is filled up with guesses where that has been measured to be faster. A guess is
verified as a draft's is: it never changes what is drawn, and one that is right saves a step. Knows nothing of models.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.engine.drafting import room
from lmlab.engine.scheduler import Slice

TILE = 4
"""Rows that are multiplied together."""
PAIRS = 5
"""Pairs of steps, one as it is and one filled up, that are compared."""
AGAIN = 64
"""Steps between two pairs once so many are known: what pays may change with the length of the texts."""
WORTH = 0.97
"""A filled step must take less than this part of one as it is."""
PLACES = 8
"""Earlier places of a text's last token that are looked at for a guess."""


@dataclass(slots=True)
class _Trial:
    """What is known of steps of one number of rows. ``plain``: seconds of a pair's first step."""

    steps: int = 0
    plain: float | None = None
    ratios: deque[float] = field(default_factory=lambda: deque(maxlen=PAIRS))

    @property
    def trying(self) -> bool:
        return len(self.ratios) < PAIRS or self.steps % AGAIN < 2

    @property
    def fills(self) -> bool:
        if self.trying:
            return self.plain is not None
        return statistics.median(self.ratios) < WORTH


class Filling:
    """Fills the steps of one context up."""

    def __init__(self) -> None:
        self._trials: dict[int, _Trial] = {}

    def propose(self, plan: Sequence[Slice], most: int, size: int) -> None:
        """Put guesses into the slices of ``plan`` up to a whole tile, ``most`` rows in all, where that is faster or not known.

        ``size`` is the longest text. Up to one tile, and where some still read their prompts, nothing is gained.
        """
        missing = -len(plan) % TILE
        if not missing or not _fillable(plan) or len(plan) + missing > most:
            return
        # Those that share a row may draw apart.
        free = [part for part in plan if not part.twins and room(part.running, size) > 0]
        if not free or not self._trials.setdefault(len(plan), _Trial()).fills:
            return
        # All are waited for: who has written least goes first.
        free.sort(key=lambda part: part.running.drawn)
        for number in range(missing):
            part = free[number % len(free)]
            if len(part.drafts) < room(part.running, size):
                part.drafts = guess(part.running.tokens, len(part.drafts) + 1)

    def record(self, plan: Sequence[Slice], seconds: float) -> None:
        """Take in that decoding ``plan`` took ``seconds``."""
        trial = self._trials.get(len(plan))
        if trial is None or not _fillable(plan):
            return
        filled = any(part.drafts for part in plan)
        if trial.trying:
            if not filled:
                trial.plain = seconds
            elif trial.plain is not None:
                trial.ratios.append(seconds / trial.plain)
                trial.plain = None
        trial.steps += 1


def guess(tokens: Sequence[int], count: int) -> list[int]:
    """Return ``count`` tokens that may come next: those that came after the last two before, or else after the last one."""
    back = list(reversed(tokens))
    place = found = 0
    for _ in range(PLACES):
        try:
            place = back.index(back[0], place + 1)
        except ValueError:
            break
        found = found or place
        if back[place + 1 : place + 2] == back[1:2]:
            found = place
            break
    following = list(tokens[len(tokens) - (found or 1) :])
    return (following * count)[:count]


def _fillable(plan: Sequence[Slice]) -> bool:
    return len(plan) > TILE and all(part.running.decoding for part in plan)
