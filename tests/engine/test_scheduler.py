"""Plans, with no model: they need only how many tokens each request has and how many are computed."""

from __future__ import annotations

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
    FixedPace,
    Pace,
    Slice,
    plan_step,
)


def running(name: str, *, prompt: int, drawn: int = 0, computed: int = 0) -> Running:
    tokens = list(range(prompt + drawn))
    new = EngineRequest(name, tuple(tokens[:prompt]), GREEDY, False, 0.0)
    return Running(Group(new), 0, tokens, GREEDY, computed=computed)


def decoding(name: str) -> Running:
    return running(name, prompt=5, drawn=3, computed=7)


def names(plan: list[Slice]) -> list[tuple[str, int]]:
    return [(part.running.request.id, part.count) for part in plan]


def paced(*, prefill_s: float, step_s: float | None = None) -> Pace:
    """A pace that has seen a prefill token take ``prefill_s`` and a decode step ``step_s``."""
    pace = Pace()
    pace.record([Slice(running("seen", prompt=100), 100)], 100 * prefill_s)
    if step_s is not None:
        pace.record([Slice(decoding("seen"), 1)], step_s)
    return pace


def test_nothing_running_is_no_plan() -> None:
    assert plan_step([], Pace(), 512, 512) == []


def test_a_short_prompt_is_one_slice() -> None:
    assert names(plan_step([running("a", prompt=7)], Pace(), 512, 512)) == [("a", 7)]


def test_the_first_chunk_is_cautious_for_nothing_is_known_yet() -> None:
    assert names(plan_step([running("a", prompt=1000)], Pace(), 512, 512)) == [("a", FIRST_CHUNK)]


def test_decode_rows_come_first_whatever_the_order_of_admission() -> None:
    requests = [running("a", prompt=40), decoding("b"), running("c", prompt=40), decoding("d")]
    assert names(plan_step(requests, paced(prefill_s=1e-6, step_s=0.01), 512, 512)) == [
        ("b", 1),
        ("d", 1),
        ("a", 40),
        ("c", 40),
    ]


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


def test_a_chunk_alone_takes_the_time_between_two_progress_reports() -> None:
    pace = paced(prefill_s=0.001, step_s=0.010)
    assert names(plan_step([running("a", prompt=4000)], pace, 2048, 512)) == [("a", int(ALONE_S / 0.001) // TILE * TILE)]


def test_a_chunk_beside_decodes_is_bounded_by_their_pace() -> None:
    pace = paced(prefill_s=0.0005, step_s=0.010)
    plan = plan_step([decoding("a"), running("b", prompt=4000)], pace, 2048, 512)
    assert names(plan) == [("a", 1), ("b", int(BESIDE_DECODES * 0.010 / 0.0005))]


def test_a_chunk_is_never_so_small_that_a_prefill_would_not_end() -> None:
    pace = paced(prefill_s=0.5, step_s=0.010)
    assert names(plan_step([decoding("a"), running("b", prompt=400)], pace, 2048, 512)) == [
        ("a", 1),
        ("b", SMALLEST_BESIDE),
    ]
    assert names(plan_step([running("b", prompt=400)], pace, 2048, 512)) == [("b", SMALLEST_CHUNK)]


def test_the_batch_is_never_overfull() -> None:
    pace = paced(prefill_s=1e-6)
    requests = [decoding("a"), running("b", prompt=400), running("c", prompt=400)]
    pace.record([Slice(decoding("seen"), 1)], 0.01)
    assert names(plan_step(requests, pace, 64, 512)) == [("a", 1), ("b", 63)]


def test_a_batch_full_of_decode_rows_leaves_no_prefill() -> None:
    requests = [running("p", prompt=9), *(decoding(str(number)) for number in range(4))]
    assert names(plan_step(requests, Pace(), 4, 512)) == [(str(number), 1) for number in range(4)]


def test_the_first_prefill_beside_a_decode_is_the_most_cautious_of_all() -> None:
    assert names(plan_step([decoding("a"), running("b", prompt=400)], Pace(), 512, 512)) == [
        ("a", 1),
        ("b", SMALLEST_BESIDE),
    ]


def test_what_decode_rows_take_themselves_is_not_the_prefills() -> None:
    pace = paced(prefill_s=0.002, step_s=0.010)
    for _ in range(30):
        pace.record([Slice(decoding("a"), 1), Slice(running("b", prompt=40), 5)], 0.010 + 5 * 0.001)
    assert pace.chunk(decoding=True, capacity=2048) in (9, 10)


def test_no_more_slices_than_rows_may_have_logits() -> None:
    requests = [running("p", prompt=9), decoding("a"), decoding("b"), running("q", prompt=9)]
    assert names(plan_step(requests, paced(prefill_s=1e-6, step_s=0.01), 512, 3)) == [("a", 1), ("b", 1), ("p", 9)]


def test_a_fixed_pace_learns_nothing() -> None:
    pace = FixedPace()
    pace.record([Slice(running("seen", prompt=100), 100)], 60.0)
    assert names(plan_step([running("a", prompt=4000)], pace, 2048, 8)) == [("a", FIXED_CHUNK)]


def test_the_pace_follows_the_machine() -> None:
    pace = paced(prefill_s=0.001)
    for _ in range(30):
        pace.record([Slice(running("seen", prompt=100), 100)], 0.05)
    assert pace.chunk(decoding=False, capacity=2048) == int(ALONE_S / 0.0005) // TILE * TILE


def test_a_prefill_too_short_to_tell_teaches_nothing() -> None:
    pace = paced(prefill_s=0.001, step_s=0.020)
    pace.record([Slice(running("seen", prompt=3), 3)], 60.0)
    assert pace.chunk(decoding=False, capacity=2048) == int(ALONE_S / 0.001) // TILE * TILE
    assert pace.chunk(decoding=True, capacity=2048) == int(BESIDE_DECODES * 0.020 / 0.001)


states = st.one_of(
    st.integers(1, 300).flatmap(
        lambda prompt: st.integers(0, prompt - 1).map(lambda done: running("p", prompt=prompt, computed=done))
    ),
    st.builds(lambda: decoding("d")),
)


@given(
    requests=st.lists(states, min_size=1, max_size=8),
    capacity=st.integers(8, 600),
    prefill_s=st.none() | st.floats(1e-7, 10),
    step_s=st.none() | st.floats(1e-7, 10),
)
def test_every_plan_is_sound(
    requests: list[Running], capacity: int, prefill_s: float | None, step_s: float | None
) -> None:
    pace = Pace() if prefill_s is None else paced(prefill_s=prefill_s, step_s=step_s)
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
