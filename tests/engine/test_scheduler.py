"""Plans, with no model: they need only how many tokens each request has and how many are computed."""

from __future__ import annotations

import pytest
from engine_drive import GREEDY
from hypothesis import given
from hypothesis import strategies as st

from lmlab.engine.request import EngineRequest, Group, Running
from lmlab.engine.scheduler import (
    ALONE_S,
    BESIDE_DECODES,
    FIRST_CHUNK,
    FIXED_CHUNK,
    SMALLEST_BESIDE,
    SMALLEST_CHUNK,
    TILE,
    UNWATCHED_S,
    FixedPace,
    Pace,
    Slice,
    plan_step,
)


def running(name: str, *, prompt: int, drawn: int = 0, computed: int = 0, watched: bool = True) -> Running:
    tokens = list(range(prompt + drawn))
    new = EngineRequest(name, tuple(tokens[:prompt]), GREEDY, False, 0.0, watched=watched)
    return Running(Group(new), 0, tokens, GREEDY, computed=computed)


def decoding(name: str, *, watched: bool = True) -> Running:
    return running(name, prompt=5, drawn=3, computed=7, watched=watched)


def names(plan: list[Slice]) -> list[tuple[str, int]]:
    return [(part.running.request.id, part.count) for part in plan]


def paced(row_s: float, first_s: float | None = None) -> Pace:
    """A pace that has seen steps take ``first_s`` for one row and ``row_s`` for each further one."""
    pace = Pace()
    first_s = row_s if first_s is None else first_s
    for _ in range(40):
        for rows in (1, 2, 4, 8, 16, 64, 128, 256, 512, 1024, 2048):
            pace.record([Slice(running("seen", prompt=rows), rows)], first_s + (rows - 1) * row_s)
    return pace


def test_where_nobody_watches_a_step_beside_decodes_is_as_large_as_alone() -> None:
    pace = paced(0.0005, 0.010)
    watched, unwatched = decoding("a"), decoding("b", watched=False)
    ((_, one), (_, small)) = names(plan_step([watched, running("c", prompt=4000)], pace, 2048, 512))
    ((_, _), (_, large)) = names(plan_step([unwatched, running("c", prompt=4000)], pace, 2048, 512))
    ((_, alone),) = names(plan_step([running("c", prompt=4000)], pace, 2048, 512))
    assert (one, alone - TILE <= large <= alone) == (1, True)
    assert small * 10 < large
    # One reader among many is enough.
    mixed = names(plan_step([unwatched, watched, running("c", prompt=4000)], pace, 2048, 512))
    assert mixed[-1][1] * 10 < large


def test_nothing_running_is_no_plan() -> None:
    assert plan_step([], Pace(), 512, 512) == []


def test_a_short_prompt_is_one_slice() -> None:
    assert names(plan_step([running("a", prompt=7)], Pace(), 512, 512)) == [("a", 7)]


def test_the_first_chunk_is_cautious_for_nothing_is_known_yet() -> None:
    assert names(plan_step([running("a", prompt=1000)], Pace(), 512, 512)) == [("a", FIRST_CHUNK)]


def test_decode_rows_come_first_whatever_the_order_of_admission() -> None:
    requests = [running("a", prompt=40), decoding("b"), running("c", prompt=40), decoding("d")]
    assert names(plan_step(requests, paced(1e-6, 0.01), 512, 512)) == [("b", 1), ("d", 1), ("a", 40), ("c", 40)]


def test_the_oldest_prefill_takes_the_room_first() -> None:
    requests = [running("a", prompt=100), running("b", prompt=100), running("c", prompt=100)]
    assert names(plan_step(requests, Pace(), 512, 512)) == [("a", 100), ("b", FIRST_CHUNK - 100)]


def test_a_chunk_goes_on_where_the_last_one_ended() -> None:
    requests = [running("a", prompt=100, computed=90), running("b", prompt=8, computed=7)]
    assert names(plan_step(requests, Pace(), 512, 512)) == [("a", 10), ("b", 1)]


def test_a_request_set_back_prefills_its_reply_too() -> None:
    back = running("a", prompt=50, drawn=20)
    assert not back.decoding
    assert names(plan_step([back], Pace(), 512, 512)) == [("a", 70)]


def test_the_last_token_of_a_cached_prompt_is_no_decode_row() -> None:
    assert names(plan_step([running("a", prompt=9, computed=8), decoding("b")], Pace(), 512, 512)) == [
        ("b", 1),
        ("a", 1),
    ]


def test_a_chunk_alone_takes_the_time_between_two_progress_reports_in_whole_tiles() -> None:
    ((_, count),) = names(plan_step([running("a", prompt=4000)], paced(0.001), 2048, 512))
    assert count % TILE == 0
    assert 0.8 * ALONE_S < count * 0.001 <= 1.05 * ALONE_S


def test_what_nobody_watches_takes_larger_steps_but_not_past_a_batch() -> None:
    seen, unseen = running("a", prompt=4000), running("b", prompt=4000, watched=False)
    ((_, count),) = names(plan_step([unseen], paced(0.001), 4096, 512))
    assert 0.8 * UNWATCHED_S < count * 0.001 <= 1.05 * UNWATCHED_S
    assert sum(part.count for part in plan_step([unseen, seen], paced(0.001), 4096, 512)) * 0.001 <= 1.05 * ALONE_S
    assert names(plan_step([unseen], paced(0.001), 512, 512)) == [("b", 512)]


def test_candidates_with_the_same_text_share_a_row() -> None:
    alike = [decoding(name) for name in "ab"]
    other = running("c", prompt=5, drawn=3, computed=7)
    other.tokens[5] = 99
    longer = running("d", prompt=5, drawn=4, computed=8)
    plan = plan_step([alike[0], other, longer, alike[1]], Pace(), 512, 512, together=True)
    assert [(part.running, part.twins) for part in plan] == [(alike[0], [alike[1]]), (other, []), (longer, [])]
    assert all(not part.twins for part in plan_step(alike, Pace(), 512, 512))


def test_prompts_that_are_the_same_share_no_row() -> None:
    plan = plan_step([running(name, prompt=9, computed=8) for name in "ab"], Pace(), 512, 512, together=True)
    assert [(part.running.request.id, part.twins) for part in plan] == [("a", []), ("b", [])]


def test_a_chunk_beside_decodes_is_bounded_by_their_pace() -> None:
    plan = plan_step([decoding("a"), running("b", prompt=4000)], paced(0.0005, 0.010), 2048, 512)
    (_, (_, count)) = names(plan)
    assert 0.4 * BESIDE_DECODES * 0.010 < count * 0.0005 < 1.1 * BESIDE_DECODES * 0.010


def test_the_more_prompts_wait_the_longer_a_step_may_take() -> None:
    pace = paced(0.0005, 0.010)
    few = plan_step([decoding("a"), decoding("b"), running("c", prompt=4000)], pace, 2048, 512)
    waiting = [running(name, prompt=4000) for name in "cdef"]
    many = plan_step([decoding("a"), decoding("b"), *waiting], pace, 2048, 512)
    assert many[2].count == pytest.approx(2 * few[2].count, rel=0.15)


def test_a_chunk_is_never_so_small_that_a_prefill_would_not_end() -> None:
    pace = paced(0.5)
    assert names(plan_step([decoding("a"), running("b", prompt=400)], pace, 2048, 512)) == [("a", 1), ("b", 1)]
    assert names(plan_step([running("b", prompt=400)], pace, 2048, 512)) == [("b", SMALLEST_CHUNK)]


def test_the_batch_is_never_overfull() -> None:
    requests = [decoding("a"), running("b", prompt=400), running("c", prompt=400)]
    assert names(plan_step(requests, paced(1e-9, 0.01), 64, 512)) == [("a", 1), ("b", 63)]


def test_a_batch_full_of_decode_rows_leaves_no_prefill() -> None:
    requests = [running("p", prompt=9), *(decoding(str(number)) for number in range(4))]
    assert names(plan_step(requests, Pace(), 4, 512)) == [(str(number), 1) for number in range(4)]


def test_the_first_prefill_beside_a_decode_is_the_most_cautious_of_all() -> None:
    plan = plan_step([decoding("a"), running("b", prompt=400)], Pace(), 512, 512)
    assert names(plan) == [("a", 1), ("b", SMALLEST_BESIDE)]


def test_no_more_slices_than_rows_may_have_logits() -> None:
    requests = [running("p", prompt=9), decoding("a"), decoding("b"), running("q", prompt=9)]
    assert names(plan_step(requests, paced(1e-9, 0.01), 512, 3)) == [("a", 1), ("b", 1), ("p", 9)]


def test_a_fixed_pace_learns_nothing() -> None:
    pace = FixedPace()
    pace.record([Slice(running("seen", prompt=100), 100)], 60.0)
    assert names(plan_step([running("a", prompt=4000)], pace, 2048, 8)) == [("a", FIXED_CHUNK)]


def test_the_pace_follows_the_machine() -> None:
    pace = paced(0.001)
    fast = pace.chunk(decoding=0, prefilling=1, capacity=2048)
    for _ in range(60):
        pace.record([Slice(running("seen", prompt=128), 128)], 128 * 0.004)
    assert pace.chunk(decoding=0, prefilling=1, capacity=2048) <= fast // 3


states = st.one_of(
    st.integers(1, 300).flatmap(
        lambda prompt: st.integers(0, prompt - 1).map(lambda done: running("p", prompt=prompt, computed=done))
    ),
    st.builds(lambda: decoding("d")),
)


@given(
    requests=st.lists(states, min_size=1, max_size=8),
    capacity=st.integers(8, 600),
    steps=st.lists(st.tuples(st.integers(1, 2048), st.floats(1e-7, 10)), max_size=20),
)
def test_every_plan_is_sound(requests: list[Running], capacity: int, steps: list[tuple[int, float]]) -> None:
    pace = Pace()
    for rows, seconds in steps:
        pace.record([Slice(running("seen", prompt=rows), rows)], seconds)
    plan = plan_step(requests, pace, capacity, 512)
    assert plan, "a step with work to do does some"
    assert sum(part.count for part in plan) <= capacity
    assert all(1 <= part.count <= part.running.remaining for part in plan)
    assert len({id(part.running) for part in plan}) == len(plan)
    planned = [part.running for part in plan]
    assert planned[: sum(r.decoding for r in requests)] == [r for r in requests if r.decoding]
    prefilling = [r for r in requests if not r.decoding]
    chosen = [part for part in plan if not part.running.decoding]
    assert [part.running for part in chosen] == prefilling[: len(chosen)]
    assert all(part.count == part.running.remaining for part in chosen[:-1]), "only the last chunk is cut"
