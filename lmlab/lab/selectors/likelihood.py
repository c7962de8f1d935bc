"""``logprob``: the reply that the model itself found most probable, a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.lab.selectors.candidates import Candidate, Choice, Question, conclude, contenders, likeliest, likelihood


@dataclass(frozen=True, slots=True)
class LogprobSelector:
    """The highest mean log-probability. A mean, so that long replies are not at a disadvantage.

    A reply that ended goes before one that a limit cut, and any before an empty one.
    """

    name: str = "logprob"
    blocking: bool = False

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        return len(ended) >= total

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        pool = contenders(candidates)
        best = likeliest(pool)
        scores = {one.index: one.logprob for one in pool if one.logprob is not None}
        return conclude(self.name, candidates, best, _why(best, pool), scores)

    def close(self) -> None:
        pass


def _why(best: Candidate, pool: list[Candidate]) -> str:
    if len(pool) == 1:
        return "the only candidate"
    if best.logprob is None:
        return "no log-probabilities are known: the first"
    # Those that ended as it did: the others were behind before any log-probability was looked at.
    rivals = sum(likelihood(one)[:2] == likelihood(best)[:2] for one in pool)
    kind = "whole" if best.reason == "stop" else "not empty"
    if rivals == 1:
        return f"the only one of {len(pool)} that is {kind}"
    among = f"{rivals}" if rivals == len(pool) else f"the {rivals} of {len(pool)} that are {kind}"
    return f"the highest mean log-probability of {among}: {best.logprob:.3f}"
