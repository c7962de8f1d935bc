"""Intervals and exact tests for what was counted. Knows nothing of what is counted."""

from __future__ import annotations

from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, both ends from 0 to 1 (E. B. Wilson, 1927; no continuity
    correction). ``trials`` must be positive; neither need be whole, for an effective number of trials is not.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    margin = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # Rounding must not leave out a share of none or of all that was itself observed.
    return min(share, max(0.0, centre - margin)), max(share, min(1.0, centre + margin))


def sign_test(wins: int, losses: int) -> float:
    """Return how likely a split at least this uneven is when each side is as good: two-sided, exact, 1 for no trials."""
    if wins < 0 or losses < 0:
        raise ValueError(f"counts must not be negative: {wins} and {losses}")
    return min(1.0, 2 * binomial_at_most(min(wins, losses), wins + losses, 0.5))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return McNemar's exact two-sided p: of the prompts that just one side got right, so many were each side's."""
    return sign_test(only_first, only_second)


def binomial_at_most(count: int, trials: int, share: float) -> float:
    """Return the probability of ``count`` successes or fewer in ``trials`` of chance ``share``, for 0 < share < 1."""
    if count < 0:
        return 0.0
    if count >= trials:
        return 1.0
    # Summed from the largest term outwards: in the lower tail terms only shrink, so the rest soon adds nothing.
    if count > trials * share:
        return 1.0 - binomial_at_most(trials - count - 1, trials, 1 - share)
    largest = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
    largest += count * log(share) + (trials - count) * log1p(-share)
    odds = (1 - share) / share
    term = total = 1.0
    for successes in range(count, 0, -1):
        term *= odds * successes / (trials - successes + 1)
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, exp(largest) * total)
