"""Too long, too many, and what llama.cpp cannot do."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import pytest
import tiny_models
from engine_drive import Drive, NodeHook, OpenEngine, alone, check_nothing_left, check_same, noise, request
from loaded_models import THREADS, library

from lmlab.engine import Admitted, Drawn, Engine
from lmlab.errors import ContextOverflow, EngineStopped, ModelLoadError
from lmlab.llama import Context, DecodeStatus, Model
from lmlab.worker.loading import Loaded, LoadLog, load
from lmlab.worker.messages import LoadSpec


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, context=256))
    replies = drive.finish(request("a", noise(256)), request("b", noise(10)))
    error = replies["a"].refused.error
    assert isinstance(error, ContextOverflow)
    assert (error.prompt_tokens, error.limit) == (256, 255)
    assert "256" in str(error)
    assert "255" in str(error)
    check_same(replies["b"], alone(open_engine(tiny), request("b", noise(10))))


def test_the_longest_prompt_that_fits_gets_one_token(any_tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(any_tiny, context=256)
    reply = alone(engine, request("a", noise(255), max_tokens=50))
    assert (reply.ended.reason, reply.ended.drawn) == ("context", 1)
    check_nothing_left(engine)


def test_a_reply_that_reaches_the_context_says_so(any_tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(any_tiny, context=256)
    reply = alone(engine, request("a", noise(200), max_tokens=1000))
    assert (reply.ended.reason, reply.ended.drawn) == ("context", 56)
    check_nothing_left(engine)


def test_one_token_is_one_token(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    reply = drive.finish(request("a", noise(5), max_tokens=1))["a"]
    assert (reply.ended.reason, reply.ended.drawn, len(reply.tokens)) == ("length", 1, 1)
    assert drive.rows == [5], "nothing is decoded for a token that will not be drawn"


def test_a_prompt_of_one_token_is_enough(any_tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(any_tiny)
    first, again = (alone(engine, request("a", [65])) for _ in range(2))
    assert (len(first.tokens), again.ended.cached) == (12, 0)
    check_same(first, again)


def test_more_requests_than_sequences_are_served_in_order(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, sequences=2))
    started: list[str] = []
    drive.submit(*(request(str(number), noise(9, number)) for number in range(7)))
    while drive.engine.busy:
        started += [event.request_id for event in drive.step() if isinstance(event, Admitted)]
    assert started == [str(number) for number in range(7)]
    assert all(reply.ended.drawn == 12 for reply in drive.replies.values())


def test_the_youngest_is_set_back_when_memory_runs_out_and_goes_on_later(
    any_tiny: Model, open_engine: OpenEngine
) -> None:
    requests = [request(str(number), noise(60, number), max_tokens=100) for number in range(3)]
    drive = Drive(open_engine(any_tiny, context=256))
    set_back: list[str] = []
    drive.submit(*requests)
    while drive.engine.busy:
        before = list(drive.engine._running)
        drive.step()
        set_back += [r.request.id for r in before if r in drive.engine._waiting]
    for new in requests:
        reply = drive.replies[new.id]
        assert (reply.ended.reason, reply.ended.drawn) == ("length", 100)
        assert len(reply.of(Admitted)) == 1
        assert [event.index for event in reply.of(Drawn)] == list(range(100))
        check_same(reply, alone(open_engine(any_tiny), new))
    check_nothing_left(drive.engine)
    # A recurrent state takes no more room as it grows.
    if any_tiny.recurrent:
        assert set_back == []
    else:
        # How often depends on how many of a prompt's tokens fit a step, and that on the machine's speed.
        assert set_back[0] == "2"
        assert set(set_back) <= {"1", "2"}


def test_idle_prefixes_give_way_before_any_request_does(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, context=256))
    for number in range(4):
        drive.finish(request(f"idle {number}", noise(25, number), max_tokens=2))
    assert drive.engine._memory.cache.held == 4 * 26
    reply = drive.finish(request("long", noise(180, seed=9), max_tokens=60))["long"]
    assert reply.ended.drawn == 60
    check_same(reply, alone(open_engine(tiny), request("long", noise(180, seed=9), max_tokens=60)))
    assert drive.engine._memory.cache.held == 239


def test_the_more_that_run_the_fewer_idle_prefixes_are_kept(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny, context=1024))
    for number in range(4):
        drive.finish(request(f"idle {number}", noise(99, number), max_tokens=2))
    assert drive.engine._memory.cache.evictable == 400
    drive.submit(*(request(f"new {number}", noise(10, seed=number + 9), max_tokens=5) for number in range(4)))
    drive.step()
    assert drive.engine._memory.cache.evictable == 100
    again = drive.finish(request("again", noise(99, 3)))["again"]
    assert again.ended.cached == 98, "what was used last is still there"


def test_what_is_reported_as_cached_was_not_decoded_again(tiny: Model, open_engine: OpenEngine) -> None:
    """One set back loses what it had decoded, and finds again what others still hold."""
    shared = noise(40)
    drive = Drive(open_engine(tiny, context=256))
    drive.finish(request("base", shared, max_tokens=1))
    replies = drive.finish(*(request(str(seed), [*shared, *noise(30, seed)], max_tokens=120) for seed in range(1, 4)))
    for name in "123":
        reply = replies[name]
        assert reply.of(Admitted)[0].cached == 40
        assert reply.ended.drawn == 120
    assert replies["1"].ended.cached == 40
    assert replies["3"].ended.cached == 40
    prefilled = 41 + 3 * 30
    assert sum(drive.rows) > prefilled + 3 * 119, "some were set back"


def test_two_hundred_requests_leave_nothing_behind(any_tiny: Model, open_engine: OpenEngine) -> None:
    chance = random.Random(0)
    engine = open_engine(any_tiny)
    drive = Drive(engine)
    prompts = [noise(chance.randrange(1, 40), seed) for seed in range(200)]
    for number, prompt in enumerate(prompts):
        drive.submit(request(str(number), prompt, max_tokens=chance.randrange(1, 6)))
    for number in range(0, 200, 17):
        drive.engine.cancel(str(number))
    replies = drive.finish()
    assert len(replies) == 200
    assert {reply.ended.reason for reply in replies.values()} == {"length", "cancelled"}
    check_nothing_left(engine)
    check_same(
        drive.finish(request("last", noise(20, seed=-1)))["last"],
        alone(open_engine(any_tiny), request("last", noise(20, seed=-1))),
    )


def test_a_step_that_fails_ends_only_those_in_it(any_tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(any_tiny, sequences=2))
    decode = drive.context.decode
    drive.submit(*(request(name, noise(10, seed)) for seed, name in enumerate("abc")))
    drive.until("b", 3)
    drive.context.decode = lambda: DecodeStatus.FAILED  # type: ignore[method-assign]
    drive.step()
    drive.context.decode = decode  # type: ignore[method-assign]
    replies = drive.finish()
    for name in "ab":
        assert isinstance(replies[name].refused.error, EngineStopped)
        assert replies[name].of(Drawn)[-1].index < 11
    check_same(replies["c"], alone(open_engine(any_tiny), request("c", noise(10, seed=2))))
    check_nothing_left(drive.engine)


def test_a_token_that_does_not_exist_ends_its_request_only_in_error(tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(tiny)
    reply = alone(engine, request("a", [*noise(5), tiny.vocabulary.size]))
    assert isinstance(reply.refused.error, EngineStopped)
    check_nothing_left(engine)
    assert alone(engine, request("b", noise(5))).ended.drawn == 12


def test_times_are_of_this_request_and_add_up(tiny: Model, open_engine: OpenEngine) -> None:
    ticks = count(1.0)
    context = open_engine(tiny)._context
    drive = Drive(Engine(tiny, context, clock=lambda: next(ticks)))
    ended = drive.finish(request("a", noise(10)))["a"].ended
    assert ended.first_s is not None
    assert 0 < ended.prefill_s < ended.first_s
    assert ended.decode_s == 11 * 2, "two looks at the clock a step"
    assert ended.first_s + ended.decode_s < ended.total_s


def test_an_interrupt_is_over_with_the_step_it_hit(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(10)))
    drive.context.interrupt()
    drive.finish()
    assert drive.replies["a"].ended.drawn == 12
    assert len(drive.rows) == 12


def test_no_graph_is_cut_without_an_interrupt(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    hook = NodeHook(drive.context, lambda node: False)
    drive.finish(request("a", noise(10)))
    assert hook.count > 100
    assert len(drive.rows) == 12


def open_as_the_worker_does(path: Path) -> Loaded:
    return load(LoadSpec(str(path), context=512, threads=THREADS), library(), LoadLog(), lambda fraction: None)


@pytest.mark.parametrize(
    ("write", "reuse"),
    [
        (tiny_models.write_llama, "full"),
        (tiny_models.write_sliding_window, "sliding-window"),
        (tiny_models.write_recurrent, "recurrent"),
    ],
)
def test_each_kind_of_model_opens_and_replies(tmp_path: Path, write: object, reuse: str) -> None:
    loaded = open_as_the_worker_does(write(tmp_path / "model.gguf"))  # type: ignore[operator]
    assert loaded.info.reuse == loaded.engine.policy == reuse
    assert alone(loaded.engine, request("a", noise(10))).ended.drawn == 12
    context: Context = loaded.engine._context
    context.close()


def test_a_model_that_cannot_generate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="is an encoder"):
        open_as_the_worker_does(tiny_models.write_encoder(tmp_path / "encoder.gguf"))
    with pytest.raises(ModelLoadError, match="has no vocabulary"):
        open_as_the_worker_does(tiny_models.write_llama(tmp_path / "mute.gguf", tokenizer="none"))
