"""What tests of selectors share: candidates made by hand, and a question that they answer."""

from __future__ import annotations

from lmlab.backends import FinishReason, Message
from lmlab.lab.best_of import Candidate, Choice, Question

QUESTION = Question((Message("user", "How many?"),), "How many?", lambda text: text.strip() or None)


def candidate(
    index: int,
    text: str = "a reply",
    logprob: float | None = -1.0,
    *,
    answer: str | None = None,
    reason: FinishReason = "stop",
) -> Candidate:
    return Candidate(index, text, reason, (index,), logprob, answer)


def replies(*texts: str) -> list[Candidate]:
    """Return candidates with these texts, the first the most probable."""
    return [candidate(index, text, -1.0 - index) for index, text in enumerate(texts)]


def answers(*said: str | None) -> list[Candidate]:
    """Return candidates with these answers, the first the most probable."""
    return [candidate(index, f"It is {answer}", -1.0 - index, answer=answer) for index, answer in enumerate(said)]


def scores(choice: Choice) -> list[float | None]:
    return [one.score for one in choice.candidates]


def notes(choice: Choice) -> list[str]:
    return [one.note for one in choice.candidates]
