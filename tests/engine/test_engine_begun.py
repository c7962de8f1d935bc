"""Replies that begin with tokens already, and looks at what of a text is cached."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engine_drive import GREEDY, HOT, Drive, OpenEngine, Reply, alone, check_nothing_left, check_same, noise, request

from lmlab.engine import Admitted, Changed, Drafting, Drawn, EngineRequest, Peeked
from lmlab.llama import Model
from lmlab.sampling import SamplingParams


def begun(name: str, prompt: list[int], reply: list[int], **values: object) -> EngineRequest:
    """A request whose reply begins with the tokens ``reply``."""
    return replace(request(name, prompt + reply, **values), replied=len(reply))  # type: ignore[arg-type]


def rest(whole: Reply, at: int) -> Reply:
    """What was drawn of ``whole`` but for the first ``at`` tokens."""
    return Reply(whole.of(Drawn)[at:])


@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_reply_goes_on_from_its_own_beginning_as_it_did(open_engine: OpenEngine, any_tiny: Model, at: int) -> None:
    engine, prompt = open_engine(any_tiny), noise(40)
    whole = alone(engine, request("whole", prompt))
    again = alone(engine, begun("again", prompt, whole.tokens[:at]))
    check_same(rest(whole, at), rest(again, 0))
    assert [event.index for event in again.of(Drawn)] == list(range(at, 12))
    assert (again.ended.reason, again.ended.drawn) == ("length", 12 - at)
    check_nothing_left(engine)


def test_the_reply_that_another_left_is_found_in_the_cache(open_engine: OpenEngine, tiny: Model) -> None:
    engine, prompt = open_engine(tiny), noise(40)
    whole = alone(engine, request("whole", prompt))
    other = (whole.tokens[6] + 1) % 200
    (admitted,) = alone(engine, begun("branch", prompt, [*whole.tokens[:6], other])).of(Admitted)
    assert admitted.cached == 46


def test_a_reply_that_is_complete_already_ends_with_no_draw(open_engine: OpenEngine, any_tiny: Model) -> None:
    engine = open_engine(any_tiny)
    drive = Drive(engine)
    new = replace(begun("full", noise(30), noise(12, 1)), candidates=3)
    reply = drive.finish(new)["full"]
    for candidate in range(3):
        ended = reply.of_candidate(candidate).ended
        assert (ended.reason, ended.drawn, ended.first_s) == ("length", 0, None)
    assert drive.rows == []
    assert alone(engine, begun("longer", noise(30), noise(20, 1))).ended.reason == "length"
    check_nothing_left(engine)


def test_candidates_share_their_beginning(open_engine: OpenEngine, any_tiny: Model) -> None:
    engine, prompt = open_engine(any_tiny), noise(50)
    drive = Drive(engine)
    new = replace(begun("a", prompt, noise(4, 3), sampling=HOT), candidates=3)
    reply = drive.finish(new)["a"]
    drawn = [reply.of_candidate(candidate).tokens for candidate in range(3)]
    assert [len(tokens) for tokens in drawn] == [8, 8, 8]
    assert len({tuple(tokens) for tokens in drawn}) > 1
    assert drive.rows[0] == 54
    check_nothing_left(engine)


def test_it_draws_as_if_the_beginning_were_prompt(open_engine: OpenEngine, any_tiny: Model) -> None:
    engine, prompt, reply = open_engine(any_tiny, reuse=False), noise(30), noise(6, 2)
    hot = SamplingParams(repeat_penalty=1.5).merge(HOT)
    as_prompt = alone(engine, request("prompt", prompt + reply, hot, max_tokens=6))
    as_reply = alone(engine, begun("reply", prompt, reply, sampling=hot))
    assert as_reply.tokens == as_prompt.tokens
    assert as_reply.logprobs == as_prompt.logprobs


def test_a_change_says_at_which_token_of_the_whole_reply(open_engine: OpenEngine, tiny: Model) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(begun("a", noise(20), noise(5, 1)))
    drive.until("a", 2)
    drive.engine.update("a", SamplingParams(temperature=1.0).merge(GREEDY))
    (changed,) = drive.finish()["a"].of(Changed)
    assert changed.index == 7


def test_guesses_end_where_the_reply_does(open_engine: OpenEngine, tiny: Model) -> None:
    engine = open_engine(tiny, spare=12, drafting=Drafting(None))
    plain = open_engine(tiny)
    prompt, reply = noise(8) * 12, noise(8)[:5]
    guessed = alone(engine, begun("a", prompt, reply, max_tokens=30))
    check_same(guessed, alone(plain, begun("a", prompt, reply, max_tokens=30)))
    assert (guessed.ended.reason, guessed.ended.drawn) == ("length", 25)


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_look_at_the_cache_tells_what_a_request_would_find(
    open_engine: OpenEngine, any_tiny: Model, deterministic: bool
) -> None:
    engine = open_engine(any_tiny, deterministic=True, sequences=1) if deterministic else open_engine(any_tiny)
    drive, prompt = Drive(engine), noise(60)
    first = drive.finish(request("first", prompt))["first"]
    texts = [prompt, prompt[:30], [*prompt, *first.tokens, 7], [*prompt, 255], noise(40, 9)]
    looks = {}
    for number, text in enumerate(texts):
        engine.peek(f"look {number}", tuple(text), ())
        assert engine.busy
        (event,) = [event for event in engine.step() if isinstance(event, Peeked)]
        looks[number] = event.cached
        engine.peek(f"again {number}", tuple(text), ())
        assert [event.cached for event in engine.step() if isinstance(event, Peeked)] == [looks[number]]
    assert not engine.busy
    assert len(drive.rows) == 12, "a look decodes nothing"
    assert deterministic == (max(looks.values()) == 0)
    for number, text in enumerate(texts):
        fresh = Drive(
            open_engine(any_tiny, deterministic=True, sequences=1) if deterministic else open_engine(any_tiny)
        )
        fresh.finish(request("first", prompt))
        (admitted,) = fresh.finish(request("next", text))["next"].of(Admitted)
        assert admitted.cached == looks[number]


def test_a_look_is_answered_while_others_decode(open_engine: OpenEngine, tiny: Model) -> None:
    drive = Drive(open_engine(tiny))
    drive.submit(request("a", noise(30), max_tokens=30))
    drive.until("a", 3)
    drive.engine.peek("look", tuple(noise(30)), ())
    (event,) = [event for event in drive.step() if isinstance(event, Peeked)]
    assert event.cached == 29
    drive.finish()
    check_nothing_left(drive.engine)
