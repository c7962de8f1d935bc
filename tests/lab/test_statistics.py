from __future__ import annotations

import random

import pytest

from lmlab.lab.statistics import wilson


# Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I, method 3.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_published_examples(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_all_or_nothing_leaves_room_on_one_side_only() -> None:
    low, high = wilson(10, 10)
    assert (high, 0.7 < low < 1) == (1.0, True)
    assert wilson(0, 10) == (pytest.approx(0, abs=1e-12), pytest.approx(1 - low))


def test_it_holds_the_true_share_about_as_often_as_it_says() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(2000):
        successes = sum(draw.random() < 0.3 for _ in range(50))
        low, high = wilson(successes, 50)
        held += low <= 0.3 <= high
    assert 0.93 <= held / 2000 <= 0.975
