"""``vote``: the answer that most candidates give (self-consistency)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from lmlab.lab.selectors.candidates import (
    Candidate,
    Choice,
    Question,
    came_to_end,
    conclude,
    contenders,
    likeliest,
    likelihood,
)
from lmlab.terminal_text import one_line

_SHOWN = 60
_NUMBER = re.compile(r"([-+\u2212]?)[$€£]?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True, slots=True)
class VoteSelector:
    """The majority over the answers as ``ballot`` sees them. A candidate without an answer has no vote.

    Of two answers with as many votes, the one whose candidates have the higher mean log-probability wins; within an
    answer, the most probable candidate. With no answer at all, the most probable candidate. Score: the share of votes.
    """

    name: str = "vote"
    blocking: bool = False

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        """Return whether the answer stands: not even if all that run said one other thing could that come level.

        Candidates count in the order of their indices: one that ended before an earlier one waits for it. What is kept
        then follows from the candidates alone, not from which of them was the quicker.
        """
        return _standing_after(ended, total) is not None

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        decisive = _standing_after(candidates, len(candidates))
        pool = contenders(candidates if decisive is None else sorted(candidates, key=_index)[:decisive])
        groups = _ballots(pool)
        scores = {one.index: len(group) / len(pool) for group in groups.values() for one in group}
        notes = {one.index: "no answer" for one in pool if one.index not in scores}
        if not groups:
            best, why = likeliest(pool), f"no answer was found in {_any_of(len(pool))}"
            if len(pool) > 1:
                why += ": the most probable"
            return conclude(self.name, candidates, best, why, dict.fromkeys(notes, 0.0), notes)
        winners = max(groups.values(), key=_standing)
        tied = [group for group in groups.values() if len(group) == len(winners) and group is not winners]
        best = likeliest(winners)
        scores |= dict.fromkeys(notes, 0.0)
        return conclude(self.name, candidates, best, _why(best, winners, tied, pool), scores, notes)

    def close(self) -> None:
        pass


def _standing_after(ended: Sequence[Candidate], total: int) -> int | None:
    """Return after how many candidates, from the first on, the answer stands; None when it does not yet."""
    votes: Counter[Hashable] = Counter()
    for count, one in enumerate(sorted(ended, key=_index), 1):
        if one.index != count - 1 or not came_to_end(one):
            return None
        if one.answer is not None and one.answer.strip():
            votes[ballot(one.answer)] += 1
        leading = [number for _, number in votes.most_common(2)]
        if count == total or (leading and leading[0] > total - count + sum(leading[1:])):
            return count
    return None if total else 0


def _index(candidate: Candidate) -> int:
    return candidate.index


def ballot(answer: str) -> Hashable:
    """Return what two spellings of one answer have in common.

    Case, white space, quotes around it and closing punctuation do not count; ``1,200``, ``1200.0`` and ``$1200`` are
    the number 1200.
    """
    # Templates are not needed to start a chat.
    from lmlab.prompting.checks import fold

    text = fold(answer)
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    value = Decimal(number[2].replace(",", ""))
    # The sign operator would round to 28 digits.
    return value if number[1] in ("", "+") else value.copy_negate()


def _ballots(candidates: Iterable[Candidate]) -> dict[Hashable, list[Candidate]]:
    groups: dict[Hashable, list[Candidate]] = {}
    for one in candidates:
        if one.answer is not None and one.answer.strip():
            groups.setdefault(ballot(one.answer), []).append(one)
    return groups


def _standing(group: list[Candidate]) -> tuple[int, float, tuple[bool, bool, float, int]]:
    known = [one.logprob for one in group if one.logprob is not None]
    mean = sum(known) / len(known) if known else float("-inf")
    return len(group), mean, likelihood(likeliest(group))


def _why(best: Candidate, winners: list[Candidate], tied: list[list[Candidate]], pool: list[Candidate]) -> str:
    why = "the only candidate says" if len(pool) == 1 else f"{len(winners)} of {len(pool)} say"
    why += f" {one_line(best.answer or '', _SHOWN)}"
    if tied:
        others = " and ".join(one_line(likeliest(group).answer or "", _SHOWN) for group in tied[:2])
        others += f" and {len(tied) - 2} more" if len(tied) > 2 else ""
        why += f", as many say {others}: the more probable"
    return why


def _any_of(count: int) -> str:
    return "the only candidate" if count == 1 else f"any of {count}"
