"""Two models' logits for one position after another, compared and added up. Knows no model: it is given arrays.

Of a position five numbers are kept, and nothing of the logits.
"""

from __future__ import annotations

from array import array
from math import exp, isfinite, log, sqrt

import numpy as np
import numpy.typing as npt

from lmlab.errors import ModelError
from lmlab.worker.divergence.messages import Estimate, Figures
from lmlab.worker.divergence.windows import Windows

Logits = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

FEWEST = 10
"""Windows below which no error is named.

What is hard in a passage is hard for many of its positions, so windows are taken for independent, and not positions: over
30 windows of this project's own pages the error of the mean KL divergence was twice, and that of the perplexity three and a
half times, what it would be said to be of independent positions.
"""


class Tally:
    """Takes the positions of ``windows`` in order."""

    def __init__(self, windows: Windows, vocabulary: int) -> None:
        self._windows = windows
        self._kl, self._change, self._agreed = array("d"), array("d"), array("d")
        self._first_surprise, self._second_surprise = array("d"), array("d")
        # Reused: at 262k tokens a new array for each step of each position would cost more than the sums do.
        self._first, self._second = np.empty(vocabulary), np.empty(vocabulary)
        self._shares = np.empty(vocabulary)

    @property
    def scored(self) -> int:
        return len(self._kl)

    def add(self, first: Logits, second: Logits, token: int) -> None:
        """Take both models' logits, shape (vocabulary,), of a position that ``token`` follows in the text.

        Raises ModelError when a figure is not finite.
        """
        top, other_top = int(first.argmax()), int(second.argmax())
        # In this order, so that the shares left behind are the reference's.
        other_total = _exponentials(second, second[other_top], self._second, self._shares)
        total = _exponentials(first, first[top], self._first, self._shares)
        before = log(total) - float(self._first[token])
        after = log(other_total) - float(self._second[token])
        # From sum p (log p - log q), with what does not differ from token to token taken out of the sum.
        divergence = _sum_of_products(self._shares, self._first, self._second) / total - log(total / other_total)
        if not isfinite(divergence + before + after):
            raise ModelError(
                f"no divergence at position {self.scored} of those scored: one of the models gives a token no "
                "probability where the other gives it one, or its logits are not numbers; try other files of them"
            )
        # Rounding must not make it less than nothing.
        self._kl.append(max(0.0, divergence))
        self._first_surprise.append(before)
        self._second_surprise.append(after)
        self._change.append(exp(-after) - exp(-before))
        self._agreed.append(top == other_top)

    def figures(self, done: int) -> Figures:
        """Return what is known after ``done`` windows, of which there must be one at least."""
        windows = self._windows
        kl, first, second, change = map(_doubles, (self._kl, self._first_surprise, self._second_surprise, self._change))
        squares = _mean(change**2, done)
        rms = sqrt(squares.value)
        # The derivative of a square root, as far as there is one.
        rms_error = squares.error / (2 * rms) if squares.error is not None and rms else squares.error
        median, p99 = (float(value) for value in np.quantile(kl, [0.5, 0.99]))
        return Figures(
            windows=done,
            planned=windows.count,
            window=windows.size,
            tokens=len(windows.tokens),
            left_over=windows.left_over,
            scored=self.scored,
            kl=_mean(kl, done),
            kl_median=median,
            kl_p99=p99,
            kl_max=float(kl.max()),
            agreement=_mean(_doubles(self._agreed), done),
            perplexity_first=_exponential(_mean(first, done)),
            perplexity_second=_exponential(_mean(second, done)),
            # Of the differences, so that what both find hard does not count as uncertainty of how they differ.
            perplexity_ratio=_exponential(_mean(second - first, done)),
            probability_rms=Estimate(rms, rms_error),
        )


def _exponentials(logits: Logits, largest: np.float32, shifted: Doubles, shares: Doubles) -> float:
    """Write ``logits`` less the ``largest`` to ``shifted``, e to the power of that to ``shares``; return their sum."""
    with np.errstate(invalid="ignore"):
        np.subtract(logits, largest, out=shifted, dtype=np.float64)
    np.exp(shifted, out=shares)
    return float(shares.sum())


def _sum_of_products(shares: Doubles, first: Doubles, second: Doubles) -> float:
    """Return the sum of ``shares`` times how much more ``first`` is than ``second``, which is overwritten."""
    with np.errstate(invalid="ignore"):
        np.subtract(first, second, out=second)
        result = float(np.dot(shares, second))
    if isfinite(result):
        return result
    # What the reference rules out counts for nothing, whatever the other makes of it.
    possible = shares > 0
    return float(np.dot(shares[possible], second[possible]))


def _doubles(values: array[float]) -> Doubles:
    return np.array(values, dtype=np.float64)


def _mean(values: Doubles, windows: int) -> Estimate:
    """Return the mean of ``values``, of as many in each of ``windows``."""
    error: float | None = None
    if windows >= FEWEST:
        error = float(values.reshape(windows, -1).mean(axis=1).std(ddof=1)) / sqrt(windows)
    return Estimate(float(values.mean()), error)


def _exponential(logarithm: Estimate) -> Estimate:
    """Return e to the power of ``logarithm``, its error by the delta method."""
    value = exp(logarithm.value)
    return Estimate(value, None if logarithm.error is None else value * logarithm.error)
