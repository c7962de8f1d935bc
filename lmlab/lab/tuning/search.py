"""The search: one thing after another is varied, measured in turn with what it would replace, and kept when it wins.

Works on whatever measures; knows nothing of processes, files or screens.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lmlab.errors import EngineStopped, ModelLoadError
from lmlab.lab.tuning.meter import Meter
from lmlab.lab.tuning.rule import ROUNDS, Gain, Objective, Rates, Verdict, best_challenger, order, promising, verdict
from lmlab.worker.messages import LoadSpec

LOOKS = 2
"""Rounds in which several candidates are looked at, before the best of them is tried."""
TOGETHER = "all together"


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that may be varied. ``vary`` returns what else there is than what a LoadSpec has, by name.

    ``usual`` names what it is without tuning, ``nothing`` says why there may be nothing else.
    """

    name: str
    usual: str
    vary: Callable[[LoadSpec], Mapping[str, LoadSpec]]
    nothing: str = "there is nothing else"


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one dimension. ``tried`` are its candidates by name, ``kept`` is the one that won; None when none did.

    ``best`` got as far as the rounds that decide, where it had ``gain``. ``failed``: which could not be loaded, and why.
    """

    name: str
    usual: str
    tried: tuple[str, ...]
    why: str
    best: str | None = None
    kept: str | None = None
    gain: Gain | None = None
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """``spec`` is what won, the one that was begun with when nothing did. ``gain`` is its gain over that one, in rounds
    that nothing was chosen by, ``before`` and ``after`` the medians of these; None where nothing won.
    """

    spec: LoadSpec
    gain: Gain | None
    before: Rates | None
    after: Rates | None
    steps: tuple[Step, ...]


@dataclass(slots=True)
class _Duel:
    incumbent: LoadSpec
    challenger: LoadSpec
    before: list[Rates] = field(default_factory=list)
    after: list[Rates] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def won(self) -> bool:
        return self.failure is None and verdict(self.gains) is Verdict.FASTER

    @property
    def gain(self) -> Gain | None:
        return Gain(tuple(self.gains)) if self.gains else None

    def why(self) -> str:
        if self.failure is not None:
            return self.failure
        match verdict(self.gains):
            case Verdict.FASTER:
                return f"faster in all of {ROUNDS} rounds"
            case Verdict.OPEN:
                return f"undecided after {len(self.gains)} of {ROUNDS} rounds: the time was up"
            case Verdict.NOT_FASTER if self.gains[-1] <= 0:
                return f"not faster in round {len(self.gains)}"
            case Verdict.NOT_FASTER:
                return "faster by too little"


def expected(base: LoadSpec, dimensions: Sequence[Dimension]) -> int:
    """Return about how many measurements it takes: half the rounds of every candidate that is tried, for most do not win
    them all, and all rounds of what is kept.
    """
    counts = [len(dimension.vary(base)) for dimension in dimensions]
    return sum(_looks(count) + ROUNDS for count in counts if count) + 2 * ROUNDS


class Search:
    """``listener`` gets each step once it is decided. ``prepare`` is called before each dimension, with about how many
    measurements are still to come.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        objective: Objective,
        listener: Callable[[Step], None],
        prepare: Callable[[int], None] = lambda measurements: None,
    ) -> None:
        self._meter = meter
        self._objective: Objective = objective
        self._listener = listener
        self._prepare = prepare

    def run(self, base: LoadSpec, dimensions: Sequence[Dimension]) -> Found:
        """Return the fastest that was found from ``base``. Raises what measuring raises of an incumbent."""
        steps: list[Step] = []
        latest: _Duel | None = None
        for number, dimension in enumerate(dimensions):
            incumbent = base if latest is None else latest.challenger
            self._prepare(expected(incumbent, dimensions[number:]))
            # What is kept of several is measured together in the end.
            step, duel = self._vary(dimension, incumbent, reserve=0 if latest is None else 2 * ROUNDS)
            steps.append(step)
            self._listener(step)
            latest = duel if duel is not None and duel.won else latest
        if latest is not None and latest.incumbent != base:
            latest = self._duel(base, latest.challenger, TOGETHER, reserve=0)
            steps.append(_step(TOGETHER, "as it was", (TOGETHER,), TOGETHER, latest, {}))
            self._listener(steps[-1])
        if latest is None or not latest.won:
            return Found(base, None, None, None, tuple(steps))
        return Found(latest.challenger, latest.gain, _medians(latest.before), _medians(latest.after), tuple(steps))

    def _vary(self, dimension: Dimension, incumbent: LoadSpec, reserve: int) -> tuple[Step, _Duel | None]:
        named = dimension.vary(incumbent)
        tried = tuple(named)
        if not named:
            return Step(dimension.name, dimension.usual, (), dimension.nothing), None
        if not self._meter.affords(_looks(len(named)) + 2 + reserve):
            return Step(dimension.name, dimension.usual, tried, "not tried: the time was up"), None
        failed: dict[str, str] = {}
        best: str | None = tried[0]
        if len(named) > 1:
            best = self._look(dimension, incumbent, named, failed)
        if best is None:
            why = "none can be loaded" if len(failed) == len(named) else "none was faster"
            return Step(dimension.name, dimension.usual, tried, why, failed=tuple(failed.items())), None
        duel = self._duel(incumbent, named[best], f"{dimension.name}: {best} against {dimension.usual}", reserve)
        return _step(dimension.name, dimension.usual, tried, best, duel, failed), duel

    def _look(
        self, dimension: Dimension, incumbent: LoadSpec, named: Mapping[str, LoadSpec], failed: dict[str, str]
    ) -> str | None:
        """Return the name of the one to try, None for none of them; those that cannot be loaded are put into ``failed``."""
        ours: list[float] = []
        scores: dict[str, list[float]] = {other: [] for other in named}
        for number in range(LOOKS):
            for arm in order((None, *scores), number):
                if arm is None:
                    ours.append(self._score(incumbent, f"{dimension.name}: {dimension.usual}"))
                    continue
                try:
                    scores[arm].append(self._score(named[arm], f"{dimension.name}: {arm}"))
                except (ModelLoadError, EngineStopped) as error:
                    failed[arm] = str(error)
            scores = {arm: made for arm, made in scores.items() if arm not in failed}
            if not scores:
                return None
            kept = promising({arm: made[-1] for arm, made in scores.items()})
            scores = {arm: scores[arm] for arm in kept}
        return best_challenger(ours, scores)

    def _duel(self, incumbent: LoadSpec, challenger: LoadSpec, what: str, reserve: int) -> _Duel:
        """Measure both in turn until it is decided, or the time is up."""
        duel = _Duel(incumbent, challenger)
        while verdict(duel.gains) is Verdict.OPEN and self._meter.affords(2 + reserve):
            doing = f"{what}, round {len(duel.gains) + 1}"
            for arm in order((incumbent, challenger), len(duel.gains)):
                if arm is incumbent:
                    duel.before.append(self._meter.rates(incumbent, doing))
                    continue
                try:
                    duel.after.append(self._meter.rates(challenger, doing))
                except (ModelLoadError, EngineStopped) as error:
                    duel.failure = str(error)
                    return duel
            ours, theirs = (rates.score(self._objective) for rates in (duel.after[-1], duel.before[-1]))
            duel.gains.append(ours / theirs - 1)
        return duel

    def _score(self, spec: LoadSpec, what: str) -> float:
        return self._meter.rates(spec, what).score(self._objective)


def _looks(candidates: int) -> int:
    """Return how many measurements it takes to find which of so many to try: none for a single one."""
    return LOOKS * (1 + candidates) if candidates > 1 else 0


def _step(name: str, usual: str, tried: tuple[str, ...], best: str, duel: _Duel, failed: Mapping[str, str]) -> Step:
    kept = best if duel.won else None
    return Step(name, usual, tried, duel.why(), best, kept, duel.gain, tuple(failed.items()))


def _medians(rates: Sequence[Rates]) -> Rates:
    return Rates(
        statistics.median(one.prefill for one in rates),
        statistics.median(one.decode for one in rates),
    )
