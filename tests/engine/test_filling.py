"""Steps that are filled up to a whole tile of rows where that takes less time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from engine_drive import HOT, Drive, OpenEngine, alone, check_nothing_left, check_same, noise, request
from hypothesis import given
from hypothesis import strategies as st

from lmlab.engine import filling
from lmlab.engine.filling import AGAIN, PAIRS, Filling, guess
from lmlab.engine.request import Group, Running
from lmlab.engine.scheduler import Slice
from lmlab.llama import Model

SIZE = 512


def decoding(*, drawn: int = 3, **values: object) -> Running:
    """A candidate whose last token is still to be decoded."""
    new = request("a", noise(10), **values)
    tokens = [*new.tokens, *noise(drawn, seed=1)]
    return Running(Group(new), 0, tokens, new.sampling, computed=len(tokens) - 1)


def plan_of(count: int, **values: object) -> list[Slice]:
    return [Slice(decoding(**values), 1) for _ in range(count)]


def rows_of(plan: Sequence[Slice]) -> int:
    return sum(part.count + len(part.drafts) for part in plan)


def step(one: Filling, count: int, cost: Callable[[int], float], most: int = 16) -> int:
    """Make a step of ``count`` candidates and return its rows; ``cost`` are the seconds of so many."""
    plan = plan_of(count)
    one.propose(plan, most, SIZE)
    one.record(plan, cost(rows_of(plan)))
    return rows_of(plan)


def by_tiles(rows: int) -> float:
    """Seconds, as measured on a model of 262,144 tokens: 7 rows take longer than 8."""
    return 1.0 * (rows // 4) + 0.4 * (rows % 4)


def one_by_one(rows: int) -> float:
    return 0.5 + 0.5 * rows


@pytest.mark.parametrize(("count", "full"), [(5, 5), (6, 6), (7, 8), (9, 9), (11, 12), (15, 16)])
def test_steps_are_filled_where_a_whole_tile_is_faster(count: int, full: int) -> None:
    one = Filling()
    first = [step(one, count, by_tiles) for _ in range(2 * PAIRS)]
    assert set(first) == {count, count + -count % 4}, "both are tried"
    later = [step(one, count, by_tiles) for _ in range(AGAIN)]
    assert later.count(full) >= AGAIN - 2


def test_steps_stay_as_they_are_where_each_row_has_its_price() -> None:
    one = Filling()
    rows = [step(one, 7, one_by_one) for _ in range(1000)]
    assert rows.count(8) == PAIRS + sum(1 for number in range(2 * PAIRS, 1000) if number % AGAIN == 1)


def test_a_gain_too_small_to_be_told_from_noise_is_none() -> None:
    one = Filling()
    rows = [step(one, 7, lambda rows: 0.98 if rows == 8 else 1.0) for _ in range(50)]
    assert rows[2 * PAIRS :] == [7] * 40


def test_what_pays_is_learned_again() -> None:
    one = Filling()
    for _ in range(100):
        step(one, 7, by_tiles)
    for _ in range(AGAIN * PAIRS):
        step(one, 7, one_by_one)
    assert [step(one, 7, one_by_one) for _ in range(AGAIN)].count(7) >= AGAIN - 2


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 12])
def test_whole_tiles_and_less_than_one_are_left_alone(count: int) -> None:
    one = Filling()
    assert {step(one, count, by_tiles) for _ in range(50)} == {count}


def test_nothing_is_filled_beyond_the_rows_there_are() -> None:
    one = Filling()
    assert {step(one, 7, by_tiles, most=7) for _ in range(50)} == {7}


def test_nobody_gets_a_guess_beyond_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling._Trial, "fills", True)
    plan = plan_of(5, max_tokens=4)
    plan[1] = Slice(decoding(max_tokens=5), 1)
    Filling().propose(plan, 16, SIZE)
    assert [len(part.drafts) for part in plan] == [0, 1, 0, 0, 0]


def test_those_that_share_a_row_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling._Trial, "fills", True)
    plan = plan_of(5)
    for part in plan[:4]:
        part.twins.append(decoding())
    Filling().propose(plan, 16, SIZE)
    assert [len(part.drafts) for part in plan] == [0, 0, 0, 0, 3]


def test_a_step_in_which_somebody_reads_a_prompt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling._Trial, "fills", True)
    plan = plan_of(7)
    plan[3].running.computed = 2
    Filling().propose(plan, 16, SIZE)
    assert rows_of(plan) == 7


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 5))
def test_a_guess_is_what_came_after_the_same_before(tokens: list[int], count: int) -> None:
    found = guess(tokens, count)
    assert len(found) == count
    ends = [end for end in range(len(tokens) - 1, 0, -1) if tokens[end - 1] == tokens[-1]][: filling.PLACES]
    pairs = [end for end in ends if end > 1 and tokens[end - 2] == tokens[-2]]
    end = (pairs or ends[:1] or [len(tokens) - 1])[0]
    endless = tokens[end:] * count
    assert found == endless[:count]


def test_filled_steps_change_no_reply(
    any_tiny: Model, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling._Trial, "fills", True)
    requests = [request(str(number), noise(20 + number, seed=number), HOT, seed=number) for number in range(7)]
    drive = Drive(open_engine(any_tiny, sequences=8))
    replies = drive.finish(*requests)
    assert (8 in drive.rows) is not any_tiny.recurrent, "a recurrent state cannot be cut back"
    for new in requests:
        check_same(replies[new.id], alone(open_engine(any_tiny), new))
        assert replies[new.id].ended.drafted is None, "nobody asked for drafts"
    check_nothing_left(drive.engine)


def test_a_guess_that_is_right_saves_a_step(
    smollm2_model: Model, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"red, {word}, blue, " * 4 for word in ("green", "yellow", "white", "black", "brown")]
    vocabulary = smollm2_model.vocabulary
    requests = [request(text, vocabulary.tokenize(text, special=False), max_tokens=30) for text in texts]
    monkeypatch.setattr(filling._Trial, "fills", False)
    plain = Drive(open_engine(smollm2_model, context=1024, sequences=8))
    expected = plain.finish(*requests)
    monkeypatch.setattr(filling._Trial, "fills", True)
    filled = Drive(open_engine(smollm2_model, context=1024, sequences=8))
    replies = filled.finish(*requests)
    for new in requests:
        assert replies[new.id].tokens == expected[new.id].tokens
    assert len(filled.rows) < 0.8 * len(plain.rows)


def test_nothing_is_filled_at_the_price_of_what_is_held(
    tiny: Model, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are cells for 32 tokens of each of seven candidates: with one guess more one of them would be set back earlier."""
    monkeypatch.setattr(filling._Trial, "fills", True)
    drive = Drive(open_engine(tiny, context=256, sequences=8))
    reply = drive.finish(request("a", noise(32), HOT, candidates=7, temperature=5.0, max_tokens=40))["a"]
    assert len(reply.tokens) == 7 * 40
    assert drive.rows[:33] == [32, *[8] * 31, 7]


def test_steps_are_filled_without_reuse_too(
    tiny: Model, open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling._Trial, "fills", True)
    drive = Drive(open_engine(tiny, sequences=8, reuse=False))
    drive.finish(*(request(str(number), noise(9, seed=number), HOT, seed=number) for number in range(7)))
    assert 8 in drive.rows
