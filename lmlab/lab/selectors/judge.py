"""``judge`` and ``judge:MODEL``: a model reads the candidates and says which is best. The prompts are templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab.backends import Backend
from lmlab.errors import PromptError
from lmlab.lab.selectors.candidates import (
    Candidate,
    Choice,
    Question,
    best_scored,
    by_text,
    conclude,
    contenders,
    likeliest,
    likelihood,
)
from lmlab.lab.selectors.judge_prompts import Judge, Verdicts

PAIRED = 4
"""Up to so many different candidates are compared each with each: twelve requests. More are scored one by one."""

_WON = "won {:.0%} of its comparisons"


@dataclass(frozen=True, slots=True)
class JudgeSelector:
    """The candidate that a judge prefers, greedily and with a fixed seed; equal texts are judged once.

    - Two to four different candidates: each pair is compared in both orders, N(N-1) requests. The winner of both orders
      gets 1; where the orders disagree or say tie, each gets 0.5, so that a judge that prefers a place prefers nobody.
      Score: the share of comparisons won.
    - More: each is scored, N requests. Only where several have the highest score are the most probable four of these
      compared in pairs, 12 requests at most. Score: the judge's.

    Equals go by log-probability, and ``why`` says so; also when no reply of the judge can be read. A candidate that the
    judge could not be asked about, being too long, has no score and its note says why. Empty ones are not judged.
    """

    name: str
    judge: Judge
    blocking: bool = True

    @classmethod
    def open(cls, name: str, backend: Backend, template_folder: Path | None) -> JudgeSelector:
        """Raises LmlabError when one of the two templates cannot be used."""
        return cls(name, Judge(backend, template_folder))

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        return len(ended) >= total

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        pool = contenders(candidates)
        groups = {text: group for text, group in by_text(pool).items() if text.strip()}
        notes = {one.index: "empty: not judged" for one in pool if not one.text.strip()}
        if len(groups) < 2:
            return conclude(self.name, candidates, likeliest(pool), _unjudged(pool, groups), {}, notes)
        if len(groups) > PAIRED:
            verdicts = self.judge.score(question.text, list(groups))
            best, why = self._among_scored(question, groups, verdicts)
        else:
            verdicts = self.judge.compare(question.text, list(groups))
            best, why = _best(groups, verdicts, _WON)
        scores = {one.index: verdicts.scores[text] for text in verdicts.scores for one in groups[text]}
        notes |= {one.index: verdicts.notes[text] for text in verdicts.notes for one in groups[text]}
        return conclude(self.name, candidates, best, why, scores, notes)

    def close(self) -> None:
        self.judge.close()

    def _among_scored(
        self, question: Question, groups: Mapping[str, list[Candidate]], verdicts: Verdicts
    ) -> tuple[Candidate, str]:
        highest = max(verdicts.scores.values(), default=0.0)
        tied = [text for text, score in verdicts.scores.items() if score == highest]
        if len(tied) < 2:
            return _best(groups, verdicts, "scored {:g} by the judge")
        tied.sort(key=lambda text: likelihood(likeliest(groups[text])), reverse=True)
        few = {text: groups[text] for text in tied[:PAIRED]}
        level = f"{len(tied)} have the highest score, {highest:g}"
        try:
            pairs = self.judge.compare(question.text, list(few))
        except PromptError as error:
            # Two answers make a longer prompt than one.
            return likeliest(few[tied[0]]), f"{level}, and could not be compared ({error}): the most probable"
        verdicts.notes.update(pairs.notes)
        best, why = _best(few, pairs, _WON)
        return best, f"{level}; {why}"


def _best(groups: Mapping[str, list[Candidate]], verdicts: Verdicts, shown: str) -> tuple[Candidate, str]:
    everyone = [one for group in groups.values() for one in group]
    scores = {one.index: verdicts.scores[text] for text in verdicts.scores for one in groups[text]}
    best = best_scored(everyone, scores)
    if not verdicts.readable:
        return best, "no verdict could be read off the judge's replies: the most probable"
    score = verdicts.scores[best.text]
    level = sum(other == score for other in verdicts.scores.values())
    said = shown.format(score)
    return best, said if level == 1 else f"{level} are equal, each {said}: the most probable"


def _unjudged(pool: list[Candidate], groups: Mapping[str, list[Candidate]]) -> str:
    if len(pool) == 1:
        return "the only candidate"
    if not groups:
        return f"all {len(pool)} candidates are empty"
    same = len(next(iter(groups.values())))
    return f"all {same} candidates are the same" if same == len(pool) else "the only text among the candidates"
