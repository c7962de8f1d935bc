"""Votes and verdicts, counted between two variants. Knows nothing of where they came from."""

from __future__ import annotations

from collections.abc import Iterable

from lmlab.lab.compare.record import Vote
from lmlab.lab.statistics import WinRate, prompt_outcomes, win_rate


def standing_of(votes: Iterable[Vote], first: str, second: str) -> WinRate:
    """Return how often the run ``first`` won against ``second``. Several votes on a prompt count as one."""
    return win_rate(*prompt_outcomes(list(points_of(votes, first, second).values())))


def points_of(votes: Iterable[Vote], first: str, second: str) -> dict[str, list[float]]:
    """Return under each prompt what the votes on it say: 1 for ``first``, -1 for ``second``, 0 for neither.

    A vote for a third one says nothing of these two, and is left out.
    """
    points: dict[str, list[float]] = {}
    for vote in votes:
        if first not in vote.runs or second not in vote.runs:
            continue
        if vote.choice != "win":
            points.setdefault(vote.question, []).append(0.0)
        elif vote.winner in (first, second):
            points.setdefault(vote.question, []).append(1.0 if vote.winner == first else -1.0)
    return points


def bad_count(votes: Iterable[Vote]) -> int:
    """Return how many votes found all answers bad."""
    return sum(vote.choice == "bad" for vote in votes)
