"""The search on machines that are made up: what it keeps, how noise fares, what it does when time is short."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from lmlab.errors import EngineStopped, ModelLoadError
from lmlab.lab.tuning.meter import Cancelled, Meter
from lmlab.lab.tuning.rule import ROUNDS, Rates
from lmlab.lab.tuning.search import LOOKS, TOGETHER, Dimension, Found, Search, Step, expected
from lmlab.worker.messages import LoadSpec

BASE = LoadSpec("model.gguf")


@dataclass
class MadeUp:
    """A machine whose true speed is ``speed(spec)``, measured with a ``noise`` and at one second each."""

    speed: Callable[[LoadSpec], float]
    noise: float = 0.0
    seed: int = 0
    seconds: float = 1e9
    each: float = 1.0
    now: float = 0.0
    measured: list[LoadSpec] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draws = random.Random(self.seed)

    def measure(self, spec: LoadSpec) -> Rates:
        self.now += self.each
        self.measured.append(spec)
        rate = self.speed(spec) * self._draws.lognormvariate(0, self.noise)
        return Rates(rate, rate)

    def run(self, *dimensions: Dimension) -> Found:
        meter = Meter(self.measure, seconds=self.seconds, clock=lambda: self.now)
        return Search(meter, objective="mixed", listener=self.steps.append).run(BASE, dimensions)


def threads(*counts: int) -> Dimension:
    return Dimension("threads", "2", lambda spec: {str(count): replace(spec, threads=count) for count in counts})


def ubatch(*counts: int) -> Dimension:
    return Dimension("ubatch", "512", lambda spec: {str(count): replace(spec, ubatch=count) for count in counts})


FLASH = Dimension("flash attention", "auto", lambda spec: {"off": replace(spec, flash_attention=False)})


def test_the_fastest_of_several_is_kept() -> None:
    machine = MadeUp(lambda spec: {None: 100, 1: 60, 3: 120, 4: 150}[spec.threads])
    found = machine.run(threads(1, 3, 4))
    assert found.spec == replace(BASE, threads=4)
    assert found.gain is not None
    assert found.gain.rounds == pytest.approx((0.5,) * ROUNDS)
    assert (found.before, found.after) == (Rates(100, 100), Rates(150, 150))
    (step,) = found.steps
    assert (step.best, step.kept, step.tried) == ("4", "4", ("1", "3", "4"))
    assert machine.steps == [step]


def test_what_lies_far_behind_is_measured_once() -> None:
    machine = MadeUp(lambda spec: {None: 100, 1: 10, 3: 120}[spec.threads])
    machine.run(threads(1, 3))
    assert machine.measured.count(replace(BASE, threads=1)) == 1


def test_the_rounds_that_decide_are_made_anew_and_in_turn() -> None:
    machine = MadeUp(lambda spec: {None: 100, 3: 140, 4: 150}[spec.threads])
    machine.run(threads(3, 4))
    deciding = machine.measured[3 * LOOKS :]
    other = replace(BASE, threads=4)
    assert deciding == [BASE, other, other, BASE] * (ROUNDS // 2)


def test_what_is_kept_is_the_ground_for_what_comes_next() -> None:
    machine = MadeUp(lambda spec: (2 if spec.threads == 4 else 1) * (1.5 if spec.ubatch == 256 else 1))
    found = machine.run(threads(4), FLASH, ubatch(128, 256))
    assert found.spec == replace(BASE, threads=4, ubatch=256)
    assert [(step.name, step.kept) for step in found.steps] == [
        ("threads", "4"),
        ("flash attention", None),
        ("ubatch", "256"),
        (TOGETHER, TOGETHER),
    ]
    # The gain is that over the beginning, measured as such.
    assert found.gain is not None
    assert found.gain.median == pytest.approx(2.0)
    assert machine.measured[-2:] == [found.spec, BASE]


def test_steps_that_undo_each_other_are_not_kept() -> None:
    """Each was faster than the one before; all together are not."""
    speeds = {(None, None): [100.0], (4, None): [110.0], (4, 256): [120.0]}

    def speed(spec: LoadSpec) -> float:
        if (spec.threads, spec.ubatch) == (None, None) and machine.steps and machine.steps[-1].name == "ubatch":
            return 130.0
        return speeds[spec.threads, spec.ubatch][0]

    machine = MadeUp(speed)
    found = machine.run(threads(4), ubatch(256))
    assert found.spec == BASE
    assert found.gain is None
    assert found.steps[-1].why == "not faster in round 1"


@pytest.mark.parametrize("noise", [0.03, 0.2])
def test_noise_picks_no_winner(noise: float) -> None:
    """Where all are equally fast, five candidates in two dimensions included, nearly every search keeps nothing."""
    kept = 0
    for seed in range(400):
        machine = MadeUp(lambda spec: 100, noise=noise, seed=seed)
        kept += machine.run(threads(1, 3, 4), FLASH, ubatch(128, 256)).gain is not None
    # Three duels, each won once in 64 at most: 19 expected, and 36 is four standard deviations beyond.
    assert kept < 36


def test_the_best_of_several_must_win_again() -> None:
    """One lucky look makes a candidate, not a winner: its luck does not count."""
    looked = 3 * LOOKS

    def speed(spec: LoadSpec) -> float:
        lucky = spec.threads == 4 and len(machine.measured) <= looked
        return 200 if lucky else 100

    machine = MadeUp(speed)
    found = machine.run(threads(3, 4))
    assert found.spec == BASE
    assert (found.steps[0].best, found.steps[0].kept, found.steps[0].why) == ("4", None, "not faster in round 1")


def test_noise_does_not_hide_what_is_much_faster() -> None:
    kept = 0
    for seed in range(100):
        machine = MadeUp(lambda spec: 140 if spec.threads == 4 else 100, noise=0.05, seed=seed)
        kept += machine.run(threads(3, 4), FLASH).spec.threads == 4
    assert kept > 90


def test_too_small_a_gain_is_not_kept() -> None:
    found = MadeUp(lambda spec: 101 if spec.threads else 100).run(threads(4))
    assert found.spec == BASE
    assert found.steps[0].why == "faster by too little"


def test_what_cannot_be_loaded_is_left_out_and_said() -> None:
    def speed(spec: LoadSpec) -> float:
        if spec.ubatch == 2048:
            raise ModelLoadError("it needs 9 GB of memory and 8 GB are available")
        return 150 if spec.ubatch == 1024 else 100

    found = MadeUp(speed).run(ubatch(1024, 2048))
    assert found.spec.ubatch == 1024
    assert found.steps[0].failed == (("2048", "it needs 9 GB of memory and 8 GB are available"),)


def test_nothing_is_kept_of_what_cannot_be_loaded() -> None:
    def speed(spec: LoadSpec) -> float:
        if spec != BASE:
            raise EngineStopped("it ended")
        return 100

    found = MadeUp(speed).run(threads(3, 4), FLASH)
    assert found.spec == BASE
    assert [step.why for step in found.steps] == ["none can be loaded", "it ended"]


def test_a_model_that_cannot_be_loaded_at_all_is_an_error() -> None:
    def speed(spec: LoadSpec) -> float:
        raise ModelLoadError("no such file")

    with pytest.raises(ModelLoadError, match="no such file"):
        MadeUp(speed).run(threads(3, 4))


def test_a_dimension_that_leaves_nothing_to_try_costs_nothing() -> None:
    machine = MadeUp(lambda spec: 100)
    found = machine.run(threads())
    assert found.steps[0].why == "there is nothing else"
    assert machine.measured == []


@pytest.mark.parametrize("seconds", [1, 5, 20, 40, 80])
def test_the_time_is_kept_and_nothing_is_kept_undecided(seconds: float) -> None:
    machine = MadeUp(lambda spec: 100 + (spec.threads or 0) + (spec.ubatch or 0), seconds=seconds)
    found = machine.run(threads(4, 8), FLASH, ubatch(1024, 2048))
    # Before the first one nobody knows how long it takes.
    assert machine.now <= max(seconds, 2 * (1 + 2) * LOOKS)
    for step in found.steps:
        assert step.kept is None or (step.gain is not None and len(step.gain.rounds) == ROUNDS)


def test_what_there_was_no_time_for_is_said() -> None:
    machine = MadeUp(lambda spec: 150 if spec.threads else 100, seconds=2 * ROUNDS + 1)
    found = machine.run(threads(4), FLASH)
    assert found.spec.threads == 4
    assert found.steps[1].why == "not tried: the time was up"
    undecided = MadeUp(lambda spec: 150 if spec.threads else 100, seconds=2 * ROUNDS - 1).run(threads(4))
    assert undecided.spec == BASE
    assert undecided.steps[0].why == f"undecided after {ROUNDS - 1} of {ROUNDS} rounds: the time was up"


def test_time_is_left_to_measure_all_of_it_together() -> None:
    """A second step is not begun when what was kept before could not be made sure of any more."""
    enough = 4 * ROUNDS + 2 * ROUNDS
    for seconds in range(2 * ROUNDS, enough + 1):
        machine = MadeUp(lambda spec: (2 if spec.threads else 1) * (2 if spec.ubatch else 1), seconds=seconds)
        found = machine.run(threads(4), ubatch(256))
        assert found.spec.threads == 4, seconds
        assert (found.spec.ubatch == 256) == (seconds >= enough), seconds


def test_about_as_many_measurements_are_made_as_are_expected() -> None:
    every = (threads(3, 4), FLASH, ubatch(128, 256))
    assert expected(BASE, every) == (2 * 3 + 6) + 6 + (2 * 3 + 6) + 12
    assert expected(BASE, (threads(), FLASH)) == 6 + 12
    made = []
    for seed in range(50):
        machine = MadeUp(lambda spec: 140 if spec.threads == 4 else 100, noise=0.03, seed=seed)
        machine.run(*every)
        made.append(len(machine.measured))
    assert sum(made) / len(made) < expected(BASE, every)


def test_cancelling_passes_through() -> None:
    def speed(spec: LoadSpec) -> float:
        raise Cancelled

    with pytest.raises(Cancelled):
        MadeUp(speed).run(threads(3, 4))
