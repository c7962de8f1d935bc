"""How often one side won, how surely it is the better one, and how many more prompts would tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt
from statistics import NormalDist

from lmlab.lab.statistics.counts import binomial_at_most, sign_test, wilson


@dataclass(frozen=True, slots=True)
class WinRate:
    """``share`` is of the ``decided``: ties say nothing of which side is better, and are only counted. ``low`` and
    ``high`` are Wilson's; all three are None when nothing is decided. ``p`` is the sign test's. ``more``: see
    ``more_needed``."""

    wins: int
    losses: int
    ties: int
    share: float | None
    low: float | None
    high: float | None
    p: float
    more: int | None
    confidence: float

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    def words(self) -> str:
        """Return it as a line for a person."""
        tied = f"{self.ties:,} tied" if self.ties else "no ties"
        if self.share is None or self.low is None or self.high is None:
            return f"nothing decided: {tied}"
        surely = f"{self.confidence:.0%} interval {self.low:.0%} to {self.high:.0%}"
        parts = [
            f"won {self.wins:,} of {self.decided:,} decided ({self.share:.0%}, {surely})",
            f"{tied}, left out" if self.ties else tied,
            f"p = {self.p:.2g}",
        ]
        if self.more is None:
            parts.append("even so far: no number of prompts can be named that would decide it")
        elif self.more:
            parts.append(f"about {self.more:,} more prompt{'s' if self.more > 1 else ''} would decide it")
        return ", ".join(parts)


def win_rate(wins: int, losses: int, ties: int = 0, confidence: float = 0.95) -> WinRate:
    """Return the first side's share of wins, with all that may be said of it. Counts are of prompts, not of answers."""
    p = sign_test(wins, losses)
    if ties < 0:
        raise ValueError(f"ties must not be negative: {ties}")
    decided = wins + losses
    low, high = wilson(wins, decided, confidence) if decided else (None, None)
    return WinRate(
        wins,
        losses,
        ties,
        share=wins / decided if decided else None,
        low=low,
        high=high,
        p=p,
        more=more_needed(wins, losses, ties, alpha=1 - confidence),
        confidence=confidence,
    )


def more_needed(wins: int, losses: int, ties: int = 0, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Return about how many more prompts would decide it: 0 when it is decided, None when both won equally often.

    So many that, should wins and ties go on as observed, the sign test over all prompts, these and those, comes out at
    ``alpha`` or below with a chance of ``power``. A rough guide: the observed share is itself uncertain, and a test
    repeated until it succeeds is no longer at ``alpha``.
    """
    if sign_test(wins, losses) <= alpha:
        return 0
    if wins == losses:
        return None
    more, fewer = max(wins, losses), min(wins, losses)
    enough = 1
    while not _likely(more, fewer, enough, alpha, power):
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _likely(more, fewer, middle, alpha, power):
            enough = middle
        else:
            too_few = middle
    return ceil(enough * (wins + losses + ties) / (wins + losses))


def _likely(wins: int, losses: int, extra: int, alpha: float, power: float) -> bool:
    """Whether ``extra`` more decided prompts at the observed share give significance with that power."""
    allowed = _most_losses(wins + losses + extra, alpha) - losses
    if not losses:
        return allowed >= 0
    return binomial_at_most(allowed, extra, losses / (wins + losses)) >= power


@cache
def _most_losses(trials: int, alpha: float) -> int:
    """Return the most losses in so many trials that the sign test finds significant; -1 when none is few enough."""
    z = NormalDist().inv_cdf(1 - alpha / 2)
    losses = max(-1, int((trials - z * sqrt(trials)) / 2))
    while losses >= 0 and sign_test(trials - losses, losses) > alpha:
        losses -= 1
    while 2 * (losses + 1) < trials and sign_test(trials - losses - 1, losses + 1) <= alpha:
        losses += 1
    return losses
