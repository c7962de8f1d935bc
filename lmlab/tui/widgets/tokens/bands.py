"""How likely a token was, in five bands. A person sees bands; figures are beside the token that is selected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """``least`` is the probability from which on a token is in it; ``sample`` is how the legend shows it."""

    name: str
    least: float
    sample: str


BANDS: tuple[Band, ...] = (
    Band("sure", 0.9, "≥ 90 %"),
    Band("likely", 0.5, "≥ 50 %"),
    Band("open", 0.2, "≥ 20 %"),
    Band("unlikely", 0.05, "≥ 5 %"),
    Band("surprising", 0.0, "< 5 %"),
)

SURPRISING = BANDS[-2].least
"""Below this probability a token is one to look at."""


def probability(logprob: float | None) -> float | None:
    """Return the probability of a natural log; None of what is not known, or is no number."""
    return None if logprob is None or math.isnan(logprob) else min(1.0, math.exp(min(0.0, logprob)))


def band(chance: float | None) -> str | None:
    """Return the name of the band that a probability falls in; None when it is not known."""
    if chance is None:
        return None
    return next(one.name for one in BANDS if chance >= one.least)


def perplexity(logprobs: Sequence[float]) -> float | None:
    """Return the perplexity of a reply to the model that drew it; None of no token whose probability is known."""
    known = [logprob for logprob in logprobs if not math.isnan(logprob)]
    return math.exp(-sum(known) / len(known)) if known else None
