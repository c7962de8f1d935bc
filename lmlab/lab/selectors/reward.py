"""``reward:MODEL``: a model with a rank head scores each candidate."""

from __future__ import annotations

import itertools
import math
import queue
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.backends import Backend, Event, Failed, Message, Rank, Ranked, RankPair
from lmlab.errors import LmlabError, PromptError
from lmlab.lab.selectors.candidates import (
    Candidate,
    Choice,
    Question,
    best_scored,
    by_text,
    conclude,
    contenders,
)


@dataclass(frozen=True, slots=True)
class RewardSelector:
    """The highest reward. Equal texts are scored once; one that is too long for the model has no score and a note."""

    name: str
    backend: Backend
    blocking: bool = True
    _prefix: str = field(default_factory=lambda: f"rank-{secrets.token_hex(4)}")
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        return len(ended) >= total

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        pool = contenders(candidates)
        groups = by_text(pool)
        asked = question.messages or (Message("user", question.text),)
        scores: dict[int, float] = {}
        notes: dict[int, str] = {}
        for group, score in zip(groups.values(), self._rank(asked, list(groups)), strict=True):
            for one in group:
                if isinstance(score, LmlabError):
                    notes[one.index] = f"not scored: {score}"
                elif math.isfinite(score):
                    scores[one.index] = score
                else:
                    notes[one.index] = f"the reward model gave no number: {score}"
        best = best_scored(pool, scores)
        return conclude(self.name, candidates, best, _why(best, pool, scores), scores, notes)

    def close(self) -> None:
        pass

    def _rank(self, asked: tuple[Message, ...], texts: list[str]) -> list[float | PromptError]:
        """Return a score for each text, or why it could not be scored. Raises what is true of all of them."""
        try:
            return list(self._scores(asked, texts))
        except PromptError as error:
            if len(texts) == 1:
                raise
            first = error
        # One of them does not fit: each is asked about alone, so that it takes no other with it.
        results: list[float | PromptError] = []
        for text in texts:
            try:
                results += self._scores(asked, [text])
            except PromptError as error:
                results.append(error)
        if all(isinstance(result, PromptError) for result in results):
            raise first
        return results

    def _scores(self, asked: tuple[Message, ...], texts: list[str]) -> tuple[float, ...]:
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        pairs = tuple(RankPair(asked, text) for text in texts)
        self.backend.ask(Rank(f"{self._prefix}-{next(self._numbers)}", pairs), events.put)
        match events.get():
            case Ranked(scores=scores):
                return scores
            case Failed(error=error):
                raise error
            case other:
                raise LmlabError(f"the reward model answered with {type(other).__name__}")


def _why(best: Candidate, pool: list[Candidate], scores: dict[int, float]) -> str:
    if best.index not in scores:
        return "the reward model gave no numbers: the most probable"
    score = scores[best.index]
    if len(pool) == 1:
        return f"the only candidate: reward {score:.3f}"
    level = len(by_text(one for one in pool if scores.get(one.index) == score))
    return f"the highest reward of {len(pool)}: {score:.3f}" + (", level: the most probable" if level > 1 else "")
