"""What the answers of one variant took: tokens, time, and how they ended. Knows nothing of how good they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, median

from lmlab.lab.compare.answer import Answer


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of answers and tokens; times are medians. None where nothing was measured.

    ``answers`` came to an end, ``cut`` of them by a limit; ``failed`` did not. ``logprob`` is the mean of their mean
    log-probabilities, each under the variant's own model.
    """

    answers: int
    failed: int
    cut: int
    tokens: float | None
    longest: int
    prompt_tokens: int
    cached_tokens: int
    ttft_s: float | None
    tokens_per_s: float | None
    logprob: float | None
    first_failure: str | None = None

    @property
    def cached(self) -> float | None:
        """The share of prompt tokens that were not decoded again."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


def figures_of(answers: Iterable[Answer]) -> Figures:
    every = list(answers)
    ended = [one for one in every if one.ended]
    failed = [one for one in every if not one.ended]
    firsts = [one.ttft_s for one in ended if one.ttft_s is not None]
    rates = [one.tokens_per_s for one in ended if one.tokens_per_s is not None]
    known = [one.logprob for one in ended if one.logprob is not None]
    return Figures(
        answers=len(ended),
        failed=len(failed),
        cut=sum(one.reason in ("length", "context") for one in ended),
        tokens=fmean(one.tokens for one in ended) if ended else None,
        longest=max((one.tokens for one in ended), default=0),
        prompt_tokens=sum(one.prompt_tokens for one in ended),
        cached_tokens=sum(one.cached_tokens for one in ended),
        ttft_s=median(firsts) if firsts else None,
        tokens_per_s=median(rates) if rates else None,
        logprob=fmean(known) if known else None,
        first_failure=failed[0].error if failed else None,
    )
