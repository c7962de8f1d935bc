from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lmlab.backends import Applied, Event, Failed, Finished, Prefill, Started, Timings, Token, Usage
from lmlab.errors import EngineStopped
from lmlab.lab.reply import ReplyState
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.store import Reply, Turn

NAME = "reply-7"
TIMINGS = Timings(0.1, 300.0, 100.0, 0.5)
BEFORE = Reply(asked=SamplingParams(top_k=5), model="m", system="s")


@pytest.fixture
def state() -> ReplyState:
    return ReplyState(Turn(7, "abc234", 6, "", datetime(2025, 1, 1, tzinfo=UTC), reply=BEFORE), BEFORE)


def fold(state: ReplyState, *events: Event) -> Reply:
    for event in events:
        state.fold(event)
    reply = state.snapshot().reply
    assert reply is not None
    return reply


def test_before_anything_it_is_what_was_known(state: ReplyState) -> None:
    assert fold(state) == BEFORE
    assert (state.text, state.ended, state.snapshot()) == ("", False, state.turn)


def test_reading_the_prompt(state: ReplyState) -> None:
    name = NAME
    reply = fold(state, Started(name, 20, 5, DEFAULTS), Prefill(name, 12, 20))
    assert (state.prompt_tokens, state.cached_tokens, state.prefilled) == (20, 5, 12)
    assert (reply.sampling, reply.usage) == (DEFAULTS, Usage(20, 5, 0))


def test_tokens_grow_text_and_ids_also_when_a_piece_is_empty(state: ReplyState) -> None:
    name = NAME
    reply = fold(state, Started(name, 20, 0, DEFAULTS), Token(name, 0, 9, ""), Token(name, 1, 8, "é"))
    assert (state.text, reply.tokens, reply.usage) == ("é", (9, 8), Usage(20, 0, 2))


def test_changes_keep_their_token_and_order(state: ReplyState) -> None:
    name = NAME
    warm, hot = DEFAULTS.with_value("temperature", 1), DEFAULTS.with_value("temperature", 2).with_value("top_k", 1)
    reply = fold(
        state,
        Applied(name, 3, warm, (("temperature", 0.8, 1.0),)),
        Applied(name, 5, hot, (("temperature", 1.0, 2.0), ("top_k", 40, 1))),
    )
    assert reply.sampling == hot
    assert reply.changes == ((3, "temperature", 0.8, 1.0), (5, "temperature", 1.0, 2.0), (5, "top_k", 40, 1))


def test_the_end_brings_the_tail_and_the_final_count(state: ReplyState) -> None:
    name = NAME
    reply = fold(
        state,
        Started(name, 20, 5, DEFAULTS),
        Token(name, 0, 9, "a"),
        Token(name, 1, 8, ""),
        Finished(name, "length", "bc", (9, 8), Usage(20, 5, 2), TIMINGS, 22),
    )
    assert (state.text, state.ended) == ("abc", True)
    assert reply == Reply(
        status="done",
        finish_reason="length",
        tokens=(9, 8),
        asked=BEFORE.asked,
        sampling=DEFAULTS,
        usage=Usage(20, 5, 2),
        timings=TIMINGS,
        context_used=22,
        system="s",
        model="m",
    )


def test_a_failure_keeps_what_had_arrived_and_says_why(state: ReplyState) -> None:
    name = NAME
    error = EngineStopped("killed")
    reply = fold(state, Started(name, 20, 0, DEFAULTS), Token(name, 0, 9, "a"), Failed(name, error))
    assert (state.text, state.ended) == ("a", True)
    assert (reply.status, reply.finish_reason, reply.tokens) == ("done", "error", (9,))
    assert (reply.error, reply.error_type, reply.usage) == ("killed", "EngineStopped", Usage(20, 0, 1))


def test_what_a_reply_begins_with_counts_as_its_tokens_and_not_as_drawn() -> None:
    record = Reply(tokens=(5, 6), logprobs=(-0.5, -0.25))
    state = ReplyState(Turn(7, "abc234", 6, "", datetime(2025, 1, 1, tzinfo=UTC), reply=record), record)
    begun = fold(state, Started(NAME, 22, 20, DEFAULTS, text="Well"))
    assert (state.text, begun.tokens, begun.usage) == ("Well", (5, 6), Usage(22, 20, 0))

    reply = fold(
        state,
        Token(NAME, 2, 9, ", no", -1.5),
        Token(NAME, 3, 8, "", -2.0),
        Finished(NAME, "stop", ".", (5, 6, 9), Usage(22, 20, 2), TIMINGS, 24),
    )

    assert (state.text, reply.tokens, reply.logprobs) == ("Well, no.", (5, 6, 9), (-0.5, -0.25, -1.5))
    assert reply.usage == Usage(22, 20, 2)


def test_without_the_log_probability_of_each_token_there_is_none(state: ReplyState) -> None:
    assert fold(state, Token(NAME, 0, 9, "a", -1.0)).logprobs == (-1.0,)
    assert fold(state, Token(NAME, 1, 8, "b")).logprobs is None
