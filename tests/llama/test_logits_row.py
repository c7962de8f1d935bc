"""A row of logits: its order, however little of it is asked for, and the probability of a token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.llama import logits_row
from lmlab.llama.logits_row import LogitsRow

FEW_VALUES = st.sampled_from([-np.inf, -3.0, -0.0, 0.0, 0.25, 1.0, 1.5, 7.0])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(FEW_VALUES, st.floats(-20, 20, width=32)), min_size=1, max_size=90),
    st.lists(st.tuples(st.integers(0, 89), FEW_VALUES), max_size=12),
    st.lists(st.integers(0, 95), min_size=1, max_size=6),
)
def test_a_row_is_in_order_however_much_of_it_is_asked_for(
    values: list[float], changes: list[tuple[int, float]], counts: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logits_row, "HEADS", (4, 24))
        patch.setattr(logits_row, "_FOLDS", 3)
        logits = np.array(values, np.float32)
        row = LogitsRow(logits)
        other = {place: value for place, value in changes if place < len(logits)}
        changed = logits.copy()
        for place, value in other.items():
            changed[place] = value
        second = LogitsRow(changed, row, np.array(sorted(other), np.int64))
        for count in counts:
            for one, numbers in ((second, changed), (row, logits)):
                order = np.argsort(-numbers, kind="stable")
                assert one.largest(count).tolist() == order[:count].tolist()
        for token in range(len(logits)):
            assert row.rank(token) == np.argsort(-logits, kind="stable").tolist().index(token)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 49_152, 262_144])
@pytest.mark.parametrize("count", [1, 2, 40, 256, 257, 5000])
def test_the_beginning_of_a_large_order_is_that_of_the_whole(size: int, count: int) -> None:
    # Rounded, so that many are equal.
    logits = np.random.default_rng(size).normal(0, 4, size).round(1).astype(np.float32)
    assert LogitsRow(logits).largest(count).tolist() == np.argsort(-logits, kind="stable")[:count].tolist()


def test_the_likeliest_may_lie_anywhere() -> None:
    """In one column of those that are looked at together, and behind the last whole one."""
    columns, size = 4096, 262_144 + 9
    logits = np.random.default_rng(0).normal(0, 1, size).astype(np.float32)
    favourites = [*range(7, 262_144, columns), *range(262_144, size)]
    logits[favourites] += 50
    assert set(LogitsRow(logits).largest(len(favourites)).tolist()) == set(favourites)


def test_no_numbers_among_the_logits_do_not_shorten_the_order() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 20_000).astype(np.float32)
    logits[::3] = np.nan
    assert len(set(LogitsRow(logits).largest(40).tolist())) == 40


@pytest.mark.parametrize("size", [4, 32_768, 100_003])
def test_log_probabilities_are_those_of_the_softmax(size: int) -> None:
    # Near enough to the four that all of them count.
    logits = np.random.default_rng(size).normal(20, 2, size).astype(np.float32)
    logits[:4] = [1.5, -2, 0.25, 30]
    raised = np.exp(logits.astype(np.float64))
    want = np.log(raised / raised.sum())
    row = LogitsRow(logits)
    assert [row.log_probability(token) for token in range(4)] == pytest.approx(want[:4].tolist(), rel=1e-6)
    row.largest(40)
    assert row.log_probability(1) == pytest.approx(want[1], rel=1e-6)
