"""One row of logits: its order, its weights and their sums, each computed when it is first needed and then kept.

A large vocabulary is slow to sort and every cut needs its beginning only, so no more of it is sorted than was asked for.
Knows nothing of samplers.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Doubles: TypeAlias = npt.NDArray[np.float64]
Ids: TypeAlias = npt.NDArray[np.int64]
Keys: TypeAlias = npt.NDArray[np.uint64]

HEADS = (64, 256, 1024, 32768)
"""How many tokens are sorted at first, and then: few distributions need more."""

_FOLDS = 64
"""Tokens of which the largest alone is looked at, when few tokens of many are wanted."""

_BLOCK = 8192
"""Tokens that are computed at once where all are: arrays of a whole vocabulary, asked of the system and given back each time,
cost several times the arithmetic."""

_WIDE = 32768
"""The same where one array is filled again and again."""

_FEW = 256
"""Numbers that are sorted in one go."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class LogitsRow:
    """``logits`` of a vocabulary, shape (vocabulary,), by id. ``origin`` has the same ones but for those of ``changed``."""

    def __init__(self, logits: Floats, origin: LogitsRow | None = None, changed: Ids | None = None) -> None:
        self.logits = logits
        self._origin = origin
        self._changed = np.empty(0, np.int64) if changed is None else changed
        self._order = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self.logits)

    def largest(self, count: int) -> Ids:
        """Return the ids of the ``count`` largest, falling, equals by id."""
        count = min(count, len(self))
        if count == 1 and not len(self._order):
            return np.array([self.logits.argmax()])
        sizes = (size for size in (*HEADS, len(self)) if size >= count)
        while count > len(self._order):
            self._order = self._sorted(min(next(sizes), len(self)))
        return self._order[:count]

    def rank(self, token: int) -> int:
        """Return how many come before ``token`` in that order."""
        logit = self.logits[token]
        equal = np.count_nonzero(self.logits[:token] == logit)
        return int(np.count_nonzero(self.logits > logit) + equal)

    def keys(self, ids: Ids) -> Keys:
        """Return numbers that rise in the order of ``largest``."""
        return row_keys(self.logits[ids], ids)

    @cached_property
    def peak(self) -> np.float32:
        return np.float32(self.logits[self._order[0]] if len(self._order) else self.logits.max())

    def log_probability(self, token: int) -> float:
        """Return the natural logarithm of the probability of ``token``."""
        return float(self.logits[token]) - self._log_total

    @cached_property
    def _log_total(self) -> float:
        """The logarithm of the sum of all exponentials. Nothing of the vocabulary's size is kept for it."""
        total = 0.0
        weights = np.empty(min(_WIDE, len(self)), np.float32)
        for part in _blocks(len(self), _WIDE):
            logits = self.logits[part]
            some = np.subtract(logits, self.peak, out=weights[: len(logits)])
            total += float(np.exp(some, out=some).sum())
        return float(self.peak) + math.log(total)

    @cached_property
    def weights(self) -> Doubles:
        """What the softmax divides by their sum."""
        return np.exp(self._logs)

    @cached_property
    def rounded(self) -> Floats:
        """The weights as llama.cpp has them: rounded once each, as expf rounds. numpy's own of this precision are a little off."""
        return self.weights.astype(np.float32)

    @cached_property
    def rounded_total(self) -> np.float32:
        """The sum of ``rounded`` by id, rounded at each step as llama.cpp's is."""
        return np.float32(running_sum(self.rounded)[-1])

    @cached_property
    def total(self) -> float:
        return float(self.weights.sum())

    @cached_property
    def entropy(self) -> float:
        """In bits, of all."""
        return _entropy(self.total, float(self.weights @ self._logs))

    def entropy_of(self, ids: Ids) -> tuple[float, float]:
        """Return the sum of the weights of ``ids``, and the entropy of these alone."""
        weights = self.weights[ids]
        total = float(weights.sum())
        return total, _entropy(total, float(weights @ self._logs[ids]))

    @cached_property
    def _logs(self) -> Doubles:
        return shifted(self.logits, self.peak)

    def _sorted(self, size: int) -> Ids:
        """Return the beginning of the order, about ``size`` long, and no shorter when that is all."""
        if self._origin is not None:
            return self._merged(self._origin, size)
        ids = _leading(self.logits, size) if size < len(self) else np.arange(size)
        return ids[_order(_falling(self.logits[ids]))[:size]]

    def _merged(self, origin: LogitsRow, size: int) -> Ids:
        """Return the beginning of the order: what is as it was, in the order it was in, with what has changed among it."""
        begin = origin.largest(size)
        other = np.zeros(len(self), np.bool_)
        other[self._changed] = True
        kept = begin[~other[begin]]
        new = np.sort(self.keys(self._changed))
        if size < len(self):
            # What comes behind the last one known is not known.
            new = new[new <= origin.keys(begin[-1:])[0]]
        places = np.searchsorted(self.keys(kept), new)
        return np.insert(kept, places, (new & _LOW).astype(np.int64))


def _leading(logits: Floats, count: int) -> Ids:
    """Return the ids of the ``count`` largest, rising, with those that equal the least of them, and perhaps a few more."""
    columns = len(logits) // _FOLDS
    if count <= columns // 2:
        # A column's largest are as many tokens, so as many are no smaller than the last of the count largest of these.
        end = columns * _FOLDS
        folded = logits[:end].reshape(_FOLDS, columns)
        tops = folded.max(axis=0)
        least = np.partition(tops, columns - count)[columns - count]
        among = np.flatnonzero(tops >= least)
        rows, places = np.nonzero(folded[:, among] >= least)
        ids = np.concatenate((rows * columns + among[places], end + np.flatnonzero(logits[end:] >= least)))
        # Fewer when some are no numbers.
        if len(ids) >= count:
            return ids
    least = np.partition(logits, len(logits) - count)[len(logits) - count]
    return np.flatnonzero(logits >= least)


def row_keys(logits: Floats, ids: Ids | np.uint64) -> Keys:
    """Return numbers that rise as ``logits`` fall, and where these are equal, as ``ids`` rise."""
    keys: Keys = _falling(logits).astype(np.uint64) << _HALF | np.asarray(ids, np.uint64)
    return keys


def last_key(logit: np.float32) -> np.uint64:
    """Return the key that comes last of all with ``logit``."""
    return np.uint64(row_keys(np.array([logit]), _LOW)[0])


def _falling(logits: Floats) -> npt.NDArray[np.uint32]:
    """Return whole numbers that rise as ``logits`` fall."""
    # Of floats that are not negative the bits rise with the value; of the others they fall. Adding 0 takes -0 to 0.
    bits = (logits + np.float32(0)).view(np.uint32)
    return np.where(bits >> np.uint32(31), bits, bits ^ np.uint32(0x7FFFFFFF))


def _order(numbers: npt.NDArray[np.uint32]) -> Ids:
    """Return the places of ``numbers`` as they rise, equals in their order."""
    if len(numbers) <= _FEW:
        return np.argsort(numbers, kind="stable")
    # numpy sorts 16 bits by counting: of a large vocabulary, both halves in half the time of the whole.
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    upper = (numbers >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(upper[order], kind="stable")]


def shifted(logits: Floats, peak: np.float32) -> Doubles:
    """Return the logarithms of the weights. They are differences in llama.cpp's precision."""
    logs = np.empty(len(logits), np.float64)
    for part in _blocks(len(logits)):
        # Below that a weight is 0; of minus infinity the product in the entropy would be no number.
        logs[part] = np.maximum(logits[part] - peak, np.float32(-800))
    return logs


def softened(logits: Floats, temperature: np.float32, peak: np.float32) -> tuple[float, float]:
    """Return the sum of the weights of ``logits`` divided by ``temperature``, and their entropy in bits.

    ``peak`` is the largest of all, so divided.
    """
    total = product = 0.0
    for part in _blocks(len(logits)):
        logs = shifted(logits[part] / temperature, peak)
        weights = np.exp(logs)
        total += float(weights.sum())
        product += float(weights @ logs)
    return total, _entropy(total, product)


def _entropy(total: float, product: float) -> float:
    """Return the entropy in bits of weights that sum up to ``total``; ``product`` is theirs with their logarithms."""
    return max(0.0, (math.log(total) - product / total) / math.log(2))


def _blocks(size: int, width: int = _BLOCK) -> list[slice]:
    return [slice(begin, begin + width) for begin in range(0, size, width)]


def running_sum(values: Floats) -> Floats:
    """Return the running sum, which rounds at each step as llama.cpp's does: between neighbours of a flat tail it decides."""
    return np.cumsum(values, dtype=np.float32)
