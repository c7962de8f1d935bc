"""What a selector is given and gives back, and the order in which candidates go when nothing else tells them apart.

Knows nothing of backends, prompts or screens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lmlab.backends import FinishReason, Message
from lmlab.errors import LmlabError


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of N replies. ``logprob`` is the mean log-probability of its tokens; ``answer`` is what was read off its text.

    ``score`` (higher is better; None: none could be given) and ``note`` are the selector's.
    """

    index: int
    text: str
    reason: FinishReason
    tokens: tuple[int, ...]
    logprob: float | None
    answer: str | None = None
    score: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What the candidates answer: ``messages`` as sent, and ``text``, the same for a person or a judge."""

    messages: tuple[Message, ...]
    text: str
    read_answer: Callable[[str], str | None]
    expected: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """``selected`` is the index of the candidate kept, ``why`` says in a few words what spoke for it.

    ``candidates`` are all of them, in the order of their indices. ``saved`` were cancelled before their end.
    """

    selected: int
    selector: str
    why: str
    candidates: tuple[Candidate, ...]
    saved: int = 0

    @property
    def best(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.index == self.selected)


class Selector(Protocol):
    """Chooses one of several candidates. Its methods may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The selector as it was typed."""

    @property
    def blocking(self) -> bool:
        """Whether ``choose`` may take long: call it on a thread of its own."""

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        """Return whether no candidate still running can change the choice; ``total`` were asked for."""

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        """Return the choice, with the score and note of each candidate.

        Those that were cancelled or failed do not take part; with none left it raises LmlabError.
        """

    def close(self) -> None:
        """Give up what is under way and give back what is held. The backends are not closed."""


def contenders(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those that came to an end of their own. Raises LmlabError when there are none."""
    asked = list(candidates)
    ended = [candidate for candidate in asked if came_to_end(candidate)]
    if not ended:
        raise LmlabError(f"none of {len(asked)} candidates came to its end: there is nothing to choose from")
    return ended


def came_to_end(candidate: Candidate) -> bool:
    """Whether it takes part: one that was cut by a limit does, one that was cancelled or failed does not."""
    return candidate.reason not in ("cancelled", "error")


def likelihood(candidate: Candidate) -> tuple[bool, bool, float, int]:
    """Return the key by which the more probable candidate is greater.

    A reply that says something goes before an empty one, one that ended before one that a limit cut: half a reply is
    no answer, however probable. Equals keep the order of their indices.
    """
    logprob = -math.inf if candidate.logprob is None else candidate.logprob
    return bool(candidate.text.strip()), candidate.reason == "stop", logprob, -candidate.index


def likeliest(candidates: Iterable[Candidate]) -> Candidate:
    return max(candidates, key=likelihood)


def by_text(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    """Return candidates under their texts, in order: what two have in common is weighed once."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.text, []).append(candidate)
    return groups


def best_scored(candidates: Iterable[Candidate], scores: Mapping[int, float]) -> Candidate:
    """Return the one with the highest score, by index; one without a score goes last, equals by likelihood."""
    return max(candidates, key=lambda one: (scores.get(one.index, -math.inf), likelihood(one)))


def conclude(
    name: str,
    candidates: Iterable[Candidate],
    best: Candidate,
    why: str,
    scores: Mapping[int, float],
    notes: Mapping[int, str] | None = None,
) -> Choice:
    """Return the choice of ``best``, with scores and notes by index put into the candidates."""
    told = notes or {}
    kept = tuple(
        replace(one, score=scores.get(one.index), note=told.get(one.index, one.note))
        for one in sorted(candidates, key=lambda one: one.index)
    )
    return Choice(best.index, name, why, kept, sum(one.reason == "cancelled" for one in kept))
