"""The stages of sampling as they are defined, in plain double precision: what the report is held against.

Shares nothing with lmlab, and does not follow llama.cpp's way of computing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmlab.sampling import SamplingParams

Doubles = npt.NDArray[np.float64]


def softmax(logits: Doubles) -> Doubles:
    weights: Doubles = np.exp(logits - logits.max())
    return weights / weights.sum()


def entropy(probabilities: Doubles) -> float:
    held = probabilities[probabilities > 0]
    return float(-(held * np.log2(held)).sum())


def stages(
    logits: npt.NDArray[np.float32], want: SamplingParams, history: Sequence[int], top_p_left: int
) -> dict[str, Doubles]:
    """Return the probabilities of all tokens after each stage that is on; what a stage removed has none.

    Top-p keeps the ``top_p_left`` likeliest: how sums are rounded decides between neighbours, so that is only checked.
    """
    assert want.top_k is not None
    assert want.top_p is not None
    assert want.min_p is not None
    assert want.temperature is not None
    assert want.repeat_last_n is not None
    now = logits.astype(np.float64)
    found = {"raw": softmax(now)}
    if want.repeat_last_n and (want.repeat_penalty, want.frequency_penalty, want.presence_penalty) != (1, 0, 0):
        for token in set(history[-want.repeat_last_n :]):
            count = list(history[-want.repeat_last_n :]).count(token)
            now[token] *= want.repeat_penalty if now[token] <= 0 else 1 / want.repeat_penalty  # type: ignore[operator]
            now[token] -= count * want.frequency_penalty + want.presence_penalty  # type: ignore[operator]
        found["penalties"] = softmax(now)
    falling = np.argsort(-now, kind="stable")
    if want.temperature == 0:
        now[falling[1:]] = -np.inf
        return {**found, "temperature": softmax(now)}
    if want.top_k:
        now[falling[want.top_k :]] = -np.inf
        found["top-k"] = softmax(now)
    if want.top_p < 1:
        together = np.cumsum(softmax(now)[falling])
        assert together[top_p_left - 1] > want.top_p - 1e-3, "fewer than reach the share"
        assert top_p_left == 1 or together[top_p_left - 2] < want.top_p + 1e-3, "more than reach the share"
        now[falling[top_p_left:]] = -np.inf
        found["top-p"] = softmax(now)
    if want.min_p > 0:
        likely = softmax(now)
        now[likely < want.min_p * likely.max()] = -np.inf
        found["min-p"] = softmax(now)
    return {**found, "temperature": softmax(now / want.temperature)}
