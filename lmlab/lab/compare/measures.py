"""What the marks in a record say of the variants: a figure for each, and a paired one for each two of them.

Everything is paired: two variants are compared on the prompts that both have a mark for. Several answers to one prompt
are one cluster. Knows nothing of how marks came to be or how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum
from typing import Literal, TypeAlias

from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.record import Record
from lmlab.lab.compare.standing import bad_count, points_of
from lmlab.lab.statistics import WinRate, clustered_wilson, more_needed, paired_bootstrap, prompt_outcomes, win_rate

_ALPHA = 0.05

MeasureKind: TypeAlias = Literal["votes", "judge", "check", "score"]

Marks: TypeAlias = dict[str, list[tuple[str, float]]]
"""Of one variant: under each prompt its cases and their marks."""

Points: TypeAlias = dict[str, list[float]]
"""Of two variants: under each prompt how much better the first one's answers are."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A variant's mean mark, each prompt counting once, and its 95 % interval: Wilson's of a check, else by bootstrap.

    ``low`` and ``high`` are None where all prompts have the same mark.
    """

    variant: int
    prompts: int
    answers: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Duel:
    """Two variants by one measure. ``rate`` counts prompts that ``first`` won, lost and tied; its p is exact.

    ``adjusted`` is that p by Holm's method, where several pairs are tested; ``more`` is how many more prompts would decide
    it beside so many tests, as ``more_needed`` has it. ``mean`` is the mean difference, first minus
    second, with its bootstrap interval; of votes and verdicts, which have no scale, there is none. ``differences`` are
    the mean ones of the prompts, by ``Case.question``.
    """

    first: int
    second: int
    rate: WinRate
    adjusted: float
    more: int | None
    mean: float | None
    low: float | None
    high: float | None
    differences: Mapping[str, float]
    answers: int


@dataclass(frozen=True, slots=True)
class Measure:
    """``name`` is how it was asked for. ``means`` are empty for votes and verdicts. ``notes`` are what must be known."""

    kind: MeasureKind
    name: str
    means: tuple[Mean, ...]
    duels: tuple[Duel, ...]
    notes: tuple[str, ...] = ()


def by_votes(record: Record, keys: set[str], runs: Sequence[str]) -> Measure | None:
    """Return what people's votes say; None without any."""
    votes = [vote for key, vote in record.votes.items() if key in keys and set(vote.runs) & set(runs)]
    if not votes:
        return None
    duels = _duels(len(runs), lambda one, other: points_of(votes, runs[one], runs[other]), scaled=False)
    blind = sum(vote.blind for vote in votes)
    notes = [f"{_counted(len(votes), 'vote')}, {blind:,} of them blind"]
    if bad := bad_count(votes):
        notes.append(f"{bad:,} found all answers bad, which counts as a tie")
    return Measure("votes", "votes", (), duels, tuple(notes))


def by_judge(record: Record, keys: set[str], runs: Sequence[str], name: str, identity: str) -> Measure | None:
    """Return what the judge called ``identity`` says; None without a verdict."""
    verdicts = [one for one in record.verdicts.values() if one.judge == identity and one.key in keys]
    if not verdicts:
        return None

    def points(one: int, other: int) -> Points:
        found: Points = {}
        for verdict in verdicts:
            if verdict.share is not None and set(verdict.runs) == {runs[one], runs[other]}:
                share = verdict.share if verdict.runs[0] == runs[one] else 1 - verdict.share
                found.setdefault(verdict.question, []).append(2 * share - 1)
        return found

    asked = [one for one in verdicts if one.asked]
    notes = [f"{_counted(len(asked), 'pair')} of answers judged, each in both orders"]
    if swayed := sum(one.swayed for one in asked):
        notes.append(f"in {swayed:,} of them the judge named the same place in both orders, which counts as a tie")
    if same := sum(one.share is not None and not one.asked for one in verdicts):
        notes.append(f"{_counted(same, 'pair')} not asked about: equal texts tie, an empty one loses")
    if lost := sum(one.share is None for one in verdicts):
        notes.append(f"{_counted(lost, 'pair')} left out: the judge could not be asked, or gave no readable verdict")
    return Measure("judge", name, (), _duels(len(runs), points, scaled=False), tuple(notes))


def by_check(answers: Iterable[Answer], count: int, check: str) -> Measure | None:
    """Return how often each variant's answers are as expected; None where nothing was expected."""
    marks: list[Marks] = [{} for _ in range(count)]
    unread = 0
    for one in answers:
        if one.correct is not None:
            marks[one.variant].setdefault(one.question, []).append((one.key, float(one.correct)))
            unread += one.answer is None
    if not any(marks):
        return None
    means = []
    for variant, mine in enumerate(marks):
        if mine:
            share = clustered_wilson([[bool(value) for _, value in values] for values in mine.values()])
            means.append(_mean(variant, mine, share.estimate, share.low, share.high))
    notes = () if not unread else (f"no answer could be read off {_counted(unread, 'reply', 'replies')}: not correct",)
    return Measure("check", check, tuple(means), _duels(count, _paired(marks), scaled=True), notes)


def by_scores(record: Record, keys: set[str], runs: Sequence[str], name: str) -> Measure | None:
    """Return what a scorer's marks say; None without any."""
    marks: list[Marks] = [{} for _ in runs]
    lost = 0
    for (by, key, run), score in record.scores.items():
        if by == name and key in keys and run in runs:
            if score.score is None:
                lost += 1
            else:
                marks[runs.index(run)].setdefault(score.question, []).append((key, score.score))
    if not any(marks) and not lost:
        return None
    means = []
    for variant, mine in enumerate(marks):
        if mine:
            clusters = [[value for _, value in values] for values in mine.values()]
            found = paired_bootstrap(clusters)
            mean = fsum(fsum(values) / len(values) for values in clusters) / len(clusters)
            means.append(_mean(variant, mine, mean, found.low if found else None, found.high if found else None))
    notes = () if not lost else (f"{_counted(lost, 'answer')} could not be marked",)
    return Measure("score", name, tuple(means), _duels(len(runs), _paired(marks), scaled=True), notes)


def _mean(variant: int, marks: Marks, mean: float, low: float | None, high: float | None) -> Mean:
    return Mean(variant, len(marks), sum(map(len, marks.values())), mean, low, high)


def _paired(marks: Sequence[Marks]) -> Callable[[int, int], Points]:
    """Return what gives the differences of two variants, case by case."""

    def points(one: int, other: int) -> Points:
        found: Points = {}
        for question, values in marks[one].items():
            others: Mapping[str, float] = dict(marks[other].get(question, ()))
            both = [value - others[key] for key, value in values if key in others]
            if both:
                found[question] = both
        return found

    return points


def _duels(count: int, points: Callable[[int, int], Points], *, scaled: bool) -> tuple[Duel, ...]:
    found = {pair: points(*pair) for pair in combinations(range(count), 2)}
    rates = {pair: win_rate(*prompt_outcomes(list(clusters.values()))) for pair, clusters in found.items()}
    adjusted = holm({pair: rate.p for pair, rate in rates.items()})
    duels = []
    for pair, clusters in found.items():
        each = {question: fsum(values) / len(values) for question, values in clusters.items()}
        interval = paired_bootstrap(list(clusters.values())) if scaled else None
        duels.append(
            Duel(
                *pair,
                rate=rates[pair],
                adjusted=adjusted[pair],
                more=0 if adjusted[pair] <= _ALPHA else _more(rates[pair], len(found)),
                mean=fsum(each.values()) / len(each) if each and scaled else None,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                differences=each,
                answers=sum(map(len, clusters.values())),
            )
        )
    return tuple(duels)


def _more(rate: WinRate, pairs: int) -> int | None:
    """Return how many more prompts would decide a pair as the first in Holm's order, so wherever in it that comes."""
    return more_needed(rate.wins, rate.losses, rate.ties, alpha=_ALPHA / pairs)


def holm(chances: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Return the p of each test so that all of them together are wrong no more often than one (Holm, 1979)."""
    adjusted: dict[tuple[int, int], float] = {}
    largest = 0.0
    for rank, pair in enumerate(sorted(chances, key=lambda pair: chances[pair])):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[pair]))
        adjusted[pair] = largest
    return adjusted


def _counted(count: int, what: str, several: str | None = None) -> str:
    return f"{count:,} {what if count == 1 else several or what + 's'}"
