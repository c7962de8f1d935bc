"""What each stage of the sampler chain makes of a row of logits, computed as llama.cpp computes it, but in numpy.

Sums and comparisons are in its precision and order, so that the cuts fall where its cuts fall. Only which of several
equal logits a cut leaves is not defined by llama.cpp; here it is the lower id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from lmlab.llama.sampler import StageName, chain_stages, complete, greedy
from lmlab.sampling import SamplingParams

Floats: TypeAlias = npt.NDArray[np.float32]
Ids: TypeAlias = npt.NDArray[np.int64]

_HEADS = (1024, 32768)
"""How many tokens are sorted at first, and then: few distributions need more to reach their top-p."""


@dataclass(frozen=True, slots=True)
class WeighedStage:
    """The distribution after a stage: tokens ``left``, and ``entropy`` in bits."""

    name: Literal["raw"] | StageName
    left: int
    entropy: float


@dataclass(frozen=True, slots=True)
class WeighedToken:
    """``rank`` is by raw probability from 0, equals by id. ``probabilities`` after each stage, 0 once it is removed."""

    token: int
    rank: int
    logit: float
    probabilities: tuple[float, ...]
    removed_by: StageName | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """``stages`` begins with ``raw``, before any; ``tokens`` are by rank."""

    stages: tuple[WeighedStage, ...]
    tokens: tuple[WeighedToken, ...]


def weigh(
    logits: Floats, sampling: SamplingParams, history: Sequence[int], *, top: int, drawn: int | None = None
) -> Weighed:
    """Weigh the token that follows ``history``. ``sampling`` must be complete but for seed, max_tokens and stop.

    Reports the ``top`` likeliest tokens by ``logits``, shape (vocabulary,), and ``drawn``.
    """
    if drawn is not None and not 0 <= drawn < len(logits):
        raise ValueError(f"token {drawn} is not in a vocabulary of {len(logits)}")
    tokens = _largest(logits, top)
    ranks = np.arange(len(tokens))
    if drawn is not None and drawn not in tokens:
        tokens = np.append(tokens, drawn)
        higher = np.count_nonzero(logits > logits[drawn]) + np.count_nonzero(logits[:drawn] == logits[drawn])
        ranks = np.append(ranks, higher)
    left = _Left(np.arange(len(logits)), logits.astype(np.float32))
    entropy, column, held = left.report(tokens, len(logits))
    stages, columns = [WeighedStage("raw", len(left.ids), entropy)], [column]
    removed: list[StageName | None] = [None] * len(tokens)
    for name in chain_stages(sampling):
        left, before = _apply(name, left, sampling, history), held
        entropy, column, held = left.report(tokens, len(logits))
        stages.append(WeighedStage(name, len(left.ids), entropy))
        columns.append(column)
        for index in np.flatnonzero(before & ~held).tolist():
            removed[index] = name
    rows = np.stack(columns, axis=1).tolist()
    weighed = zip(tokens.tolist(), ranks.tolist(), logits[tokens].tolist(), rows, removed, strict=True)
    return Weighed(tuple(stages), tuple(WeighedToken(t, r, x, tuple(p), stage) for t, r, x, p, stage in weighed))


def log_probability(logits: Floats, token: int) -> float:
    """Return the natural logarithm of the probability of ``token``, before any sampler."""
    peak = float(logits.max())
    return float(logits[token]) - peak - math.log(float(np.exp(logits - peak).sum(dtype=np.float64)))


@dataclass(slots=True)
class _Left:
    """The tokens that are left, in llama.cpp's order: by id, or once ``ordered``, by logit, falling."""

    ids: Ids
    logits: Floats
    ordered: bool = False

    def report(self, tokens: Ids, vocabulary: int) -> tuple[float, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return the entropy in bits and, of each of ``tokens``, the probability and whether it is left."""
        # Below that a weight is 0; of minus infinity the product in the entropy would be no number.
        shifted = np.maximum(self.logits - self.logits.max(), np.float32(-200))
        weights = np.exp(shifted)
        total = float(weights.sum(dtype=np.float64))
        entropy = (math.log(total) - float(weights @ shifted) / total) / math.log(2)
        places = np.full(vocabulary, -1)
        places[self.ids] = np.arange(len(self.ids))
        held = places[tokens] >= 0
        return max(0.0, entropy), np.where(held, weights[places[tokens]].astype(np.float64) / total, 0.0), held

    def keep(self, places: Ids | slice, *, ordered: bool) -> _Left:
        return _Left(self.ids[places], self.logits[places], ordered)


def _apply(name: StageName, left: _Left, sampling: SamplingParams, history: Sequence[int]) -> _Left:
    match name:
        case "penalties":
            return _penalize(left, sampling, history)
        case "top-k":
            count = int(complete(sampling.top_k))
            return left.keep(_largest(left.logits, count), ordered=True)
        case "top-p":
            return _cut_top_p(left, np.float32(complete(sampling.top_p)))
        case "min-p":
            share = np.float32(complete(sampling.min_p))
            # One that is 0 in this precision cuts nothing.
            if share <= 0:
                return left
            least = left.logits.max() + np.log(share)
            return left.keep(np.flatnonzero(left.logits >= least), ordered=left.ordered)
        case "temperature":
            if greedy(sampling):
                return left.keep(_largest(left.logits, 1), ordered=True)
            return _Left(left.ids, left.logits / np.float32(complete(sampling.temperature)), left.ordered)


def _penalize(left: _Left, sampling: SamplingParams, history: Sequence[int]) -> _Left:
    window = history[-int(complete(sampling.repeat_last_n)) :]
    recent, counts = np.unique(np.asarray(window, np.int64), return_counts=True)
    repeat, frequency, presence = (
        np.float32(complete(value))
        for value in (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    )
    logits = left.logits.copy()
    # The first stage: every token stands at the place of its id.
    raised = logits[recent]
    raised = np.where(raised <= 0, raised * repeat, raised / repeat)
    logits[recent] = raised - (counts.astype(np.float32) * frequency + presence)
    return _Left(left.ids, logits)


def _cut_top_p(left: _Left, share: np.float32) -> _Left:
    """Keep the likeliest tokens that together reach ``share``, the one that reaches it included."""
    # One that is 1 in this precision cuts nothing, and leaves the order.
    if share >= 1:
        return left
    # Rounded once each, as expf rounds: numpy's own of this precision is a little off.
    weights = np.exp(left.logits - left.logits.max(), dtype=np.float64).astype(np.float32)
    # A running sum rounds at each step, as llama.cpp's does, and decides between neighbours when the tail is flat.
    probabilities = weights / np.cumsum(weights, dtype=np.float32)[-1]
    for count in sorted({min(size, len(left.ids)) for size in (*_HEADS, len(left.ids))}):
        places = np.arange(count) if left.ordered else _largest(left.logits, count)
        reached = np.cumsum(probabilities[places], dtype=np.float32) >= share
        if reached.any():
            return left.keep(places[: int(reached.argmax()) + 1], ordered=True)
    return left.keep(places, ordered=True)


def _largest(logits: Floats, count: int) -> Ids:
    """Return the places of the ``count`` largest, falling, equals in their order."""
    size = len(logits)
    if count < size:
        least = np.partition(logits, size - count)[size - count] if count else np.float32(np.inf)
        places = np.flatnonzero(logits >= least)
    else:
        places = np.arange(size)
    order: Ids = places[np.argsort(-logits[places], kind="stable")][:count]
    return order
