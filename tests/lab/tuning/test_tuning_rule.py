"""When one way to load a model counts as faster: from the gains alone, and how often noise passes."""

from __future__ import annotations

import random

import pytest

from lmlab.lab.tuning.rule import LEAST_GAIN, ROUNDS, Gain, Rates, Verdict, best_challenger, order, promising, verdict


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([], Verdict.OPEN),
        ([0.5] * (ROUNDS - 1), Verdict.OPEN),
        ([0.5] * ROUNDS, Verdict.FASTER),
        ([0.001, 0.001, 0.03, 0.03, 0.03, 0.9], Verdict.FASTER),
        ([0.5] * (ROUNDS - 1) + [0.0], Verdict.NOT_FASTER),
        ([0.5, -0.001], Verdict.NOT_FASTER),
        ([0.5] * (ROUNDS - 1) + [-0.001], Verdict.NOT_FASTER),
        ([LEAST_GAIN - 0.001] * ROUNDS, Verdict.NOT_FASTER),
        ([LEAST_GAIN] * ROUNDS, Verdict.FASTER),
    ],
)
def test_what_is_faster_is_so_in_every_round_and_by_enough(gains: list[float], expected: Verdict) -> None:
    assert verdict(gains) is expected


@pytest.mark.parametrize("spread", [0.03, 0.3])
def test_of_two_that_are_equally_fast_the_other_seldom_passes(spread: float) -> None:
    """The rule's own claim: at most once in 2 ** ROUNDS, whatever the noise."""
    draws, passed = random.Random(1), 0
    for _ in range(6400):
        gains: list[float] = []
        while verdict(gains) is Verdict.OPEN:
            gains.append(draws.lognormvariate(0, spread) / draws.lognormvariate(0, spread) - 1)
        passed += verdict(gains) is Verdict.FASTER
    # 100 expected; beyond 140 is four standard deviations.
    assert passed < 140


def test_what_is_clearly_faster_passes_in_spite_of_noise() -> None:
    draws, passed = random.Random(2), 0
    for _ in range(500):
        gains = [1.3 * draws.lognormvariate(0, 0.05) / draws.lognormvariate(0, 0.05) - 1 for _ in range(ROUNDS)]
        passed += verdict(gains) is Verdict.FASTER
    assert passed > 490


def test_a_drift_of_the_machine_is_shared_by_both() -> None:
    """What comes second is measured on a slower machine; turns alternate, so it is not always the same one."""
    gains: list[float] = []
    speed = 100.0
    while verdict(gains) is Verdict.OPEN:
        rates = {}
        for arm in order(("usual", "other"), len(gains)):
            rates[arm] = speed
            speed *= 1.1
        gains.append(rates["other"] / rates["usual"] - 1)
    assert verdict(gains) is Verdict.NOT_FASTER


def test_turns_alternate() -> None:
    assert [order("abc", number) for number in range(3)] == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


def test_a_request_takes_the_time_of_its_prompt_and_of_its_reply() -> None:
    rates = Rates(prefill=512, decode=64)
    assert rates.score("prefill") == 512
    assert rates.score("decode") == 64
    # One second to read 512 tokens, two to write 128.
    assert rates.score("mixed") == pytest.approx(640 / 3)


def test_what_lies_far_behind_is_not_looked_at_twice() -> None:
    assert promising({1: 50.0, 2: 100.0, 3: 90.0, 4: 84.0}) == [2, 3]


def test_the_best_is_the_one_that_is_faster_round_by_round() -> None:
    # The machine was slow in the second round; in both, b was a tenth faster.
    assert best_challenger([100, 50], {"a": [104, 52], "b": [110, 55], "c": [90, 45]}) == "b"
    assert best_challenger([100, 50], {"a": [99, 49], "b": [100, 50]}) is None
    assert best_challenger([100, 50], {}) is None


def test_a_gain_is_its_median_and_its_range() -> None:
    gain = Gain((0.2, 0.1, 0.6))
    assert (gain.median, gain.low, gain.high) == (0.2, 0.1, 0.6)
