"""What is changed and ended while requests run."""

from __future__ import annotations

import random
import threading

import pytest
from engine_drive import (
    GREEDY,
    HOT,
    Drive,
    NodeHook,
    OpenEngine,
    Reply,
    alone,
    check_nothing_left,
    check_same,
    noise,
    request,
)

from lmlab.engine import Drawn, Ended, Prefilled
from lmlab.llama import Model
from lmlab.sampling import SamplingParams


def test_a_change_is_in_force_from_the_next_token(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10), HOT))
    drive.until("a", 4)
    cold = SamplingParams(temperature=0.0, top_k=5).merge(HOT)
    drive.engine.update("a", cold)
    reply = drive.finish()["a"]
    (changed,) = reply.changed
    assert (changed.index, changed.sampling) == (4, cold)
    assert changed.changes == (("temperature", 1.5, 0.0), ("top_k", 40, 5))
    at = reply.events.index(changed)
    assert isinstance(reply.events[at + 1], Drawn)
    assert reply.events[at + 1].index == 4
    greedy = alone(open_engine(tiny), request("b", [*noise(10), *reply.tokens[:4]], max_tokens=8))
    assert len(reply.tokens) == 12
    assert reply.tokens[4:] == greedy.tokens


def test_of_two_changes_before_a_token_the_last_one_counts(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10)))
    drive.until("a", 2)
    for temperature in (0.5, 0.9):
        drive.engine.update("a", SamplingParams(temperature=temperature).merge(GREEDY))
    (changed,) = drive.finish()["a"].changed
    assert changed.changes == (("temperature", 0.0, 0.9),)


def test_a_change_that_changes_nothing_is_not_reported(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10), HOT))
    drive.until("a", 2)
    drive.engine.update("a", HOT)
    reply = drive.finish()["a"]
    assert reply.changed == []
    assert reply.tokens == alone(open_engine(tiny), request("a", noise(10), HOT)).tokens


def test_a_request_that_waits_or_prefills_takes_a_change_too(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, sequences=1, batch=128))
    drive.submit(request("a", noise(10)), request("b", noise(400, seed=1)))
    drive.step()
    drive.engine.update("b", HOT)
    drive.until("a", 12)
    while not drive.replies.get("b", Reply()).of(Prefilled):
        drive.step()
    drive.engine.update("b", SamplingParams(top_k=3).merge(HOT))
    (changed,) = drive.finish()["b"].changed
    assert (changed.index, changed.sampling.top_k, changed.sampling.temperature) == (0, 3, 1.5)


def test_random_numbers_run_on_through_a_change(tiny: Model, open_engine: OpenEngine) -> None:
    """A change of what has no effect rebuilds the whole chain and may alter no draw."""
    plain = alone(open_engine(tiny), request("a", noise(10), HOT)).tokens
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10), HOT))
    for count, window in ((3, 32), (7, 64)):
        drive.until("a", count)
        drive.engine.update("a", SamplingParams(repeat_last_n=window).merge(HOT))
    reply = drive.finish()["a"]
    assert [changed.index for changed in reply.changed] == [3, 7]
    assert reply.tokens == plain
    assert len(set(plain)) > 4


def test_a_penalty_switched_on_in_flight_sees_what_came_before(tiny: Model, open_engine: OpenEngine) -> None:
    prompt = noise(30)
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", prompt, max_tokens=40))
    drive.until("a", 10)
    drive.engine.update("a", SamplingParams(presence_penalty=100.0, repeat_last_n=256, max_tokens=40).merge(GREEDY))
    tokens = drive.finish()["a"].tokens
    seen = {*prompt, *tokens[:10]}
    plain = alone(open_engine(tiny), request("a", prompt, max_tokens=40)).tokens
    assert set(plain[10:]) & {*prompt, *plain[:10]}, "without the penalty it does repeat"
    for token in tokens[10:]:
        assert token not in seen
        seen.add(token)


def test_max_tokens_below_what_is_drawn_ends_it_at_the_next(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10), max_tokens=100))
    drive.until("a", 6)
    drive.engine.update("a", SamplingParams(max_tokens=2).merge(GREEDY))
    ended = drive.finish()["a"].ended
    assert (ended.reason, ended.drawn) == ("length", 7)


def test_asking_after_a_request_that_is_over_does_nothing(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.finish(request("a", noise(10)))
    drive.engine.update("a", HOT)
    drive.engine.cancel("a")
    drive.engine.cancel("never was")
    assert drive.engine.finish("a") == []
    check_same(drive.finish(request("b", noise(10)))["b"], drive.replies["a"])
    assert len(drive.replies["a"].of(Ended)) == 1


def test_finishing_ends_with_stop_and_keeps_what_was_decoded(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10), max_tokens=100), request("b", noise(10, seed=1)))
    drive.until("a", 5)
    (ended,) = drive.engine.finish("a")
    assert isinstance(ended, Ended)
    assert (ended.reason, ended.drawn, ended.held) == ("stop", 5, 14)
    drive.finish()
    check_same(drive.replies["b"], alone(open_engine(tiny), request("b", noise(10, seed=1))))
    check_nothing_left(drive.engine)


def test_cancelling_one_that_waits(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, sequences=1))
    drive.submit(request("a", noise(10)), request("b", noise(10, seed=1)), request("c", noise(10, seed=2)))
    drive.until("a", 3)
    drive.engine.cancel("b")
    replies = drive.finish()
    ended = replies["b"].ended
    assert (ended.reason, ended.drawn, ended.first_s, ended.prefill_s) == ("cancelled", 0, None, 0.0)
    assert replies["b"].events == [ended]
    for name, seed in ("a", 0), ("c", 2):
        check_same(replies[name], alone(open_engine(any_tiny), request(name, noise(10, seed))))
    check_nothing_left(drive.engine)


def test_cancelling_before_the_first_step(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10)))
    drive.engine.cancel("a")
    assert drive.finish()["a"].ended.reason == "cancelled"
    assert drive.rows == []


def test_cancelling_inside_a_prefill_leaves_the_others_as_they_were(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny))
    drive.submit(request("a", noise(10), max_tokens=20), request("c", noise(12, seed=3), max_tokens=20))
    drive.until("a", 4)
    statuses = []

    def cancel_once(node: int) -> bool:
        # Only the prefill of b has more rows than the two that decode.
        if node == 20 and drive.rows[-1] > 2 and not statuses:
            statuses.append(drive.rows[-1])
            drive.engine.cancel("b")
        return False

    NodeHook(drive.context, cancel_once)
    replies = drive.finish(request("b", noise(200, seed=1)))
    assert statuses, "the cancel came inside the prefill"
    assert replies["b"].ended.reason == "cancelled"
    assert replies["b"].tokens == []
    for name, prompt in ("a", noise(10)), ("c", noise(12, seed=3)):
        check_same(replies[name], alone(open_engine(any_tiny), request(name, prompt, max_tokens=20)))
    check_nothing_left(drive.engine)


def test_what_a_cancelled_prefill_had_decoded_is_reused(tiny: Model, open_engine: OpenEngine) -> None:
    prompt = noise(400)
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", prompt))
    drive.step()
    done = drive.replies["a"].of(Prefilled)[-1].done
    assert 0 < done < 400
    drive.engine.cancel("a")
    drive.finish()
    assert drive.replies["a"].ended.held == done
    again = drive.finish(request("again", prompt))["again"]
    assert again.ended.cached == done
    check_same(again, alone(open_engine(tiny), request("again", prompt)))


def test_cancelling_inside_a_decode_from_another_thread(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny))
    drive.submit(request("a", noise(10)), request("b", noise(10, seed=1), max_tokens=300))
    drive.until("b", 5)
    drive.before_decode = cancel_in_thread = lambda: None

    def cancel() -> None:
        drive.before_decode = cancel_in_thread
        thread = threading.Thread(target=drive.engine.cancel, args=("b",))
        thread.start()
        thread.join()

    drive.before_decode = cancel
    replies = drive.finish()
    assert replies["b"].ended.reason == "cancelled"
    assert 5 <= replies["b"].ended.drawn <= 6
    check_same(replies["a"], alone(open_engine(any_tiny), request("a", noise(10))))
    check_nothing_left(drive.engine)


def test_a_cancel_while_a_recurrent_model_decodes_costs_no_state(recurrent: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(recurrent))
    drive.submit(request("a", noise(10)), request("b", noise(10, seed=1), max_tokens=300))
    drive.until("b", 5)
    drive.before_decode = lambda: drive.engine.cancel("b")
    drive.rows.clear()
    drive.step()
    drive.before_decode = lambda: None
    drive.finish()
    assert drive.replies["b"].ended.reason == "cancelled"
    assert max(drive.rows) == 2, "nothing was prefilled again"


@pytest.mark.parametrize("seed", range(5))
def test_interrupts_anywhere_change_no_reply(any_tiny: Model, open_engine: OpenEngine, seed: int) -> None:
    """Requests that come and extend each other, with decodes cut short at random nodes of their graphs."""
    chance = random.Random(seed)
    script = [(chance.randrange(1, 30), chance.random() < 0.6, chance.randrange(12)) for _ in range(12)]
    replies = [run_script(Drive(open_engine(any_tiny, sequences=5)), script, cuts) for cuts in (None, chance)]
    assert len(replies[0]) == len(script)
    for name, reply in replies[0].items():
        check_same(replies[1][name], reply)


def run_script(drive: Drive, script: list[tuple[int, bool, int]], cuts: random.Random | None) -> dict[str, Reply]:
    """Run requests of (new tokens, whether it extends, which one), each begun a few steps after the one before."""
    cut_at = 0
    hook = NodeHook(drive.context, lambda node: cut_at > 0 and node >= cut_at)
    prompts: list[list[int]] = []
    for step in range(2000):
        if step % 3 == 0 and step // 3 < len(script):
            count, extends, which = script[step // 3]
            base = prompts[which % len(prompts)] if extends and prompts else []
            prompts.append([*base, *noise(count, seed=step)])
            drive.submit(request(str(step), prompts[-1]))
        if not drive.engine.busy:
            return drive.replies
        cut_at = cuts.randrange(1, 50) if cuts is not None and cuts.random() < 0.3 else 0
        hook.count = 0
        drive.step()
    raise AssertionError("still busy")
