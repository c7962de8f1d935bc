from __future__ import annotations

import pytest

from lmlab.lab.bench.amounts import Key, Step
from lmlab.lab.bench.pace import Pace

DECODE, PREFILL = Step(Key("decode"), None, 0, 50), Step(Key("prefill"), None, 100, 0)
DEEP = Step(Key("decode", 1000), None, 1000, 50)
STEPS = (DECODE, PREFILL, DEEP)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_said_before_there_is_something_to_reckon_with(clock: Clock) -> None:
    pace = Pace([STEPS], 2, most_s=None, clock=clock)
    assert pace.left_s() is None
    pace.done(0, DECODE, 1.0, 50.0)
    assert pace.left_s() is None


def test_what_was_never_done_takes_what_its_tokens_take(clock: Clock) -> None:
    pace = Pace([STEPS], 2, most_s=None, clock=clock)
    pace.done(0, DECODE, 1.5, 50.0)
    pace.done(0, PREFILL, 2.5, 100.0)
    # Again each as long as before, and twice 1000 / 100 + 50 / 50.
    assert pace.left_s() == 1.5 + 2.5 + 2 * 11.0


def test_what_was_done_takes_as_long_again(clock: Clock) -> None:
    pace = Pace([STEPS], 2, most_s=None, clock=clock)
    for step, seconds in zip(STEPS, (1.0, 2.0, 30.0), strict=True):
        pace.done(0, step, seconds, 10.0)
    assert pace.left_s() == 33.0


def test_another_subject_is_taken_for_as_slow(clock: Clock) -> None:
    pace = Pace([STEPS, STEPS], 1, most_s=None, clock=clock)
    for step in STEPS:
        pace.done(0, step, 2.0, None)
    assert pace.left_s() == 6.0


def test_what_is_given_up_or_skipped_takes_no_time(clock: Clock) -> None:
    pace = Pace([STEPS], 2, most_s=None, clock=clock)
    for step in STEPS:
        pace.done(0, step, 2.0, 10.0)
    pace.skipped(0, DECODE)
    assert pace.left_s() == 4.0
    pace.give_up(0, DEEP)
    assert pace.left_s() == 2.0


def test_only_what_there_is_time_for_is_allowed(clock: Clock) -> None:
    pace = Pace([STEPS], 3, most_s=10.0, clock=clock)
    assert pace.allows(0, DEEP)
    pace.done(0, DECODE, 1.0, 50.0)
    pace.done(0, PREFILL, 1.0, 100.0)
    clock.now += 2.0
    assert not pace.allows(0, DEEP)
    assert pace.allows(0, DECODE)
    assert pace.left_s() == 8.0
    assert not pace.over
    clock.now += 8.0
    assert pace.over
    assert not pace.allows(0, DECODE)


def test_time_may_have_begun_before(clock: Clock) -> None:
    pace = Pace([STEPS], 1, most_s=10.0, clock=clock, begun=90.0)
    assert pace.elapsed_s == 10.0
    assert pace.over
