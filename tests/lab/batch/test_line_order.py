from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lmlab.lab.batch.line_order import LineOrder


def test_lines_are_written_as_they_come_when_no_order_is_asked_for() -> None:
    written: list[int] = []
    order = LineOrder(ordered=False)
    for number in (3, 0, 2):
        order.put(number, lambda number=number: written.append(number))  # type: ignore[misc]
    assert (written, order.held) == ([3, 0, 2], 0)


@given(st.integers(0, 30), st.randoms(use_true_random=False), st.sets(st.integers(0, 29)))
def test_lines_come_in_the_order_of_the_rows(count: int, shuffle: random.Random, empty: set[int]) -> None:
    numbers = list(range(count))
    shuffle.shuffle(numbers)
    written: list[int] = []
    order = LineOrder(ordered=True)
    for number in numbers:
        order.put(number, None if number in empty else lambda number=number: written.append(number))  # type: ignore[misc]
    assert written == [number for number in range(count) if number not in empty]
    assert order.held == 0


def test_what_waits_for_a_row_that_never_comes_is_written_at_the_end() -> None:
    written: list[int] = []
    order = LineOrder(ordered=True)
    for number in (4, 2, 0):
        order.put(number, lambda number=number: written.append(number))  # type: ignore[misc]
    order.put(3, None)
    assert (written, order.held) == ([0], 3)
    order.flush()
    assert written == [0, 2, 4]
