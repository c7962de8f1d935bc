"""The interval of a mean difference, by resampling prompts. Knows nothing of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from lmlab.lab.statistics.clusters import Clusters, Interval, cluster_means

DRAWS = 1 << 20
"""Drawn at once, so that memory does not grow with the prompts."""


def paired_bootstrap(
    differences: Sequence[float] | Clusters, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Interval | None:
    """Return the mean difference and its percentile bootstrap interval (Efron, 1979).

    Of clusters each prompt's mean counts once, and prompts are drawn, whole. None for fewer than two prompts or when
    all differ by the same: resampling what is all alike says nothing of how else it might have been. With few prompts
    the interval is a little too narrow: of normal differences that of 95 % held the mean in 90 % of the simulations
    with 10 prompts, in 93 % with 30 and in 94 % with 100.
    """
    import numpy as np

    values = np.asarray(cluster_means(_clusters(differences)), dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, DRAWS // len(values))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        picks = generator.integers(0, len(values), size=(count, len(values)))
        means[start : start + count] = values[picks].mean(axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(values.mean()), float(low), float(high), confidence)


def _clusters(differences: Sequence[float] | Clusters) -> Clusters:
    if len(differences) and not isinstance(differences[0], (int, float)) and hasattr(differences[0], "__len__"):
        return cast("Clusters", differences)
    return [(float(value),) for value in cast("Sequence[float]", differences)]
