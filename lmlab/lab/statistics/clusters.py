"""Several answers to one prompt: they are alike, so they are not so many independent trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from typing import TypeAlias

from lmlab.lab.statistics.counts import wilson

Clusters: TypeAlias = Sequence[Sequence[float]]
"""For each prompt the values of its answers, or of its pairs of answers; at least one, not always equally many."""

ROUNDING = 1e-12
"""A sum of differences this small beside its parts is 0: scores like 0.3 - 0.2 and 0.1 do not cancel to the last bit."""


@dataclass(frozen=True, slots=True)
class Interval:
    """``estimate``, and from ``low`` to ``high`` what it may really be, at this ``confidence``."""

    estimate: float
    low: float
    high: float
    confidence: float = 0.95


def prompt_outcomes(clusters: Clusters) -> tuple[int, int, int]:
    """Return how many prompts were won, lost and tied, by the sign of the sum of each one's differences."""
    wins = losses = ties = 0
    for cluster in checked(clusters):
        total = fsum(cluster)
        if abs(total) <= ROUNDING * fsum(map(abs, cluster)):
            ties += 1
        elif total > 0:
            wins += 1
        else:
            losses += 1
    return wins, losses, ties


def cluster_means(clusters: Clusters) -> list[float]:
    """Return each prompt's mean."""
    return [fsum(cluster) / len(cluster) for cluster in checked(clusters)]


def clustered_wilson(clusters: Sequence[Sequence[bool]], confidence: float = 0.95) -> Interval:
    """Return the share of prompts' answers that are true, each prompt counting once, with its interval.

    Wilson's, of as many trials as ``wilson_of_error`` finds. With one answer a prompt it is ``wilson``.
    """
    means = cluster_means(clusters)
    if not means:
        raise ValueError("no answers, so no share of them")
    prompts, share = len(means), fsum(means) / len(means)
    variance = fsum((mean - share) ** 2 for mean in means) / (prompts * (prompts - 1)) if prompts > 1 else 0.0
    return wilson_of_error(share, sqrt(variance), prompts, sum(map(len, clusters)), confidence)


def wilson_of_error(share: float, error: float, clusters: int, trials: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a ``share`` whose standard error, found from ``clusters``, is ``error``.

    The number of trials is that of independent ones with this error (Korn and Graubard, 1998), from ``clusters``, when
    those of a cluster are all alike, to ``trials``, as many as there are.
    """
    # All alike: nothing shows how independent they are, so they are not taken for it.
    effective = float(clusters)
    if 0 < share < 1:
        effective = min(trials, max(clusters, share * (1 - share) / error**2)) if error else float(trials)
    low, high = wilson(share * effective, effective, confidence)
    return Interval(share, low, high, confidence)


def checked(clusters: Clusters) -> Clusters:
    """Return ``clusters`` as they are. Raises ValueError for an empty one and for a value that is not a number."""
    for index, cluster in enumerate(clusters):
        if not cluster:
            raise ValueError(f"prompt {index} has no values")
        if not all(map(isfinite, cluster)):
            raise ValueError(f"prompt {index} has a value that is not finite")
    return clusters
