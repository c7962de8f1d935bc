"""Rows as llama.cpp reads them through the pointers of the struct."""

from __future__ import annotations

import pytest

from lmlab.llama.batch import Batch


def rows(batch: Batch) -> list[tuple[int, int, int, bool]]:
    """The (token, position, sequence, wants logits) of each row, read as C would."""
    struct = batch.struct
    assert all(struct.n_seq_id[i] == 1 for i in range(struct.n_tokens))
    return [
        (struct.token[i], struct.pos[i], struct.seq_id[i][0], bool(struct.logits[i])) for i in range(struct.n_tokens)
    ]


def test_rows_of_several_sequences_lie_one_after_the_other() -> None:
    batch = Batch(8)
    assert batch.add([5], 41, 3, logits=True) == 0
    assert batch.add([7, 8, 9], 10, 1, logits=True) == 3
    assert batch.add([1, 2], 0, 200, logits=False) == 5
    assert rows(batch) == [
        (5, 41, 3, True),
        (7, 10, 1, False),
        (8, 11, 1, False),
        (9, 12, 1, True),
        (1, 0, 200, False),
        (2, 1, 200, False),
    ]


def test_a_cleared_batch_remembers_nothing() -> None:
    batch = Batch(3)
    batch.add([1, 2, 3], 7, 2, logits=True)
    batch.clear()
    assert rows(batch) == []
    assert batch.add([4, 5], 0, 0, logits=False) == 1
    assert rows(batch) == [(4, 0, 0, False), (5, 1, 0, False)]


def test_it_can_be_filled_to_the_last_row() -> None:
    batch = Batch(4)
    batch.add([1, 2, 3], 0, 0, logits=False)
    assert batch.add([9], 5, 1, logits=True) == 3
    assert rows(batch)[3] == (9, 5, 1, True)


def test_rows_that_do_not_fit_are_refused_and_leave_it_as_it_was() -> None:
    batch = Batch(4)
    batch.add([1, 2, 3], 0, 0, logits=True)
    before = rows(batch)
    with pytest.raises(ValueError, match="2 rows do not fit a batch that has 3 of 4"):
        batch.add([4, 5], 3, 0, logits=True)
    assert rows(batch) == before


def test_no_rows_are_refused_and_do_not_touch_the_row_before() -> None:
    batch = Batch(4)
    batch.add([1, 2], 0, 0, logits=False)
    with pytest.raises(ValueError, match="no tokens"):
        batch.add([], 2, 0, logits=True)
    assert rows(batch) == [(1, 0, 0, False), (2, 1, 0, False)]
