"""The real worker with a real model: what a person's requests get."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from local_harness import GREEDY, Bench, Reply

from lmlab.backends import Applied, ChatPrompt, Event, Message, Prefill, Started, TextPrompt, Token
from lmlab.backends.local import LocalHandle
from lmlab.errors import ContextOverflow, PromptError, TemplateError
from lmlab.sampling import SamplingParams

QUESTION = Message("user", "What is the capital of France?")
CONTEXT = 1024


@pytest.fixture(scope="module")
def bench(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(smollm2, tmp_path_factory.mktemp("logs"), CONTEXT)
    yield bench
    bench.backend.close()


def chat(*messages: Message) -> ChatPrompt:
    return ChatPrompt(messages)


def test_the_model_tells_of_itself(bench: Bench, smollm2: Path) -> None:
    info = bench.backend.wait_ready()
    assert info.path == str(smollm2)
    assert (info.architecture, info.vocabulary, info.reuse) == ("llama", 49152, "full")
    assert (info.context, info.context_trained) == (CONTEXT, 8192)
    assert info.chat_template
    assert info.threads == 1
    assert bench.backend.wait_ready() is info
    assert bench.workers == 1


def test_a_chat_reply_from_start_to_end(bench: Bench) -> None:
    reply = bench.ask(chat(QUESTION), max_tokens=24, seed=7)
    finished = reply.finished()
    assert reply.text.strip()
    kinds = [type(event) for event in reply.events]
    assert kinds[0] is Started
    assert kinds.index(Prefill) < kinds.index(Token)
    assert [token.index for token in reply.tokens] == list(range(len(reply.tokens)))
    assert finished.tokens == tuple(token.id for token in reply.tokens)
    assert finished.usage.completion_tokens == len(finished.tokens)
    assert finished.usage.prompt_tokens == reply.started.prompt_tokens
    assert reply.started.sampling.seed == 7
    assert reply.started.sampling.top_k == 40
    timings = finished.timings
    assert timings.ttft_s is not None
    assert 0 < timings.ttft_s <= timings.total_s
    assert timings.prefill_tokens_per_s is not None
    assert timings.decode_tokens_per_s is not None
    assert finished.logprob is None


def test_prefill_grows_to_the_whole_prompt(bench: Bench) -> None:
    reply = bench.ask("The quick brown fox jumps over the lazy dog. " * 25, max_tokens=1)
    reply.finished()
    progress = [event for event in reply.events if isinstance(event, Prefill)]
    assert len(progress) > 1
    assert all(before.done < after.done for before, after in pairwise(progress))
    assert {event.total for event in progress} == {reply.started.prompt_tokens}
    assert progress[0].done > reply.started.cached_tokens
    assert progress[-1].done == reply.started.prompt_tokens


def test_the_next_turn_reuses_all_that_was_decoded(bench: Bench) -> None:
    first = bench.ask(chat(Message("user", "Tell me of the sea.")), max_tokens=12)
    told = first.finished()
    said = Message("assistant", first.text, told.tokens)
    second = bench.ask(chat(Message("user", "Tell me of the sea."), said, Message("user", "More!")), max_tokens=1)
    usage = second.finished().usage
    assert usage.cached_tokens == second.started.cached_tokens == told.context_used
    assert told.context_used >= first.started.prompt_tokens + len(told.tokens) - 1
    assert usage.cached_tokens < usage.prompt_tokens
    progress = next(event for event in second.events if isinstance(event, Prefill))
    assert progress.done > usage.cached_tokens


def test_two_requests_run_at_once_and_say_what_they_say_alone(bench: Bench) -> None:
    prompts = [chat(Message("user", "Count from one to ten.")), chat(Message("user", "Name three colours."))]
    alone = [bench.ask(prompt, max_tokens=6) for prompt in prompts[:1]]
    alone[0].finished()
    alone.append(bench.ask(prompts[1], max_tokens=6))
    alone[1].finished()
    order: list[str] = []

    def note(handle: LocalHandle, _event: Event) -> None:
        order.append(handle.request_id)

    together = [bench.ask(prompt, max_tokens=6, on_event=note) for prompt in prompts]
    assert [reply.finished().tokens for reply in together] == [reply.finished().tokens for reply in alone]
    first, second = (reply.handle.request_id for reply in together)
    assert order.index(second) < len(order) - 1 - order[::-1].index(first)


def test_a_stop_text_is_not_part_of_the_reply(bench: Bench) -> None:
    whole = bench.ask(chat(QUESTION), max_tokens=24)
    stop = whole.text[9:15]
    before = whole.text[: whole.text.index(stop)]
    cut = bench.ask(chat(QUESTION), max_tokens=24, stop=(stop,))
    assert cut.finished().reason == "stop"
    assert cut.text == before


def test_log_probabilities_when_asked_for(bench: Bench) -> None:
    reply = bench.ask(chat(QUESTION), max_tokens=3, logprobs=True)
    logprob = reply.finished().logprob
    each = [token.logprob for token in reply.tokens]
    assert logprob is not None
    assert all(value is not None and value <= 0 for value in each)
    assert math.isclose(logprob, sum(value or 0 for value in each) / 3, rel_tol=1e-6)


def test_the_same_seed_draws_the_same_and_another_seed_another(bench: Bench) -> None:
    warm = SamplingParams(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, max_tokens=8)
    replies = [bench.ask("Once upon a time", warm, seed=seed).finished().tokens for seed in (0, 0, 1)]
    assert replies[0] == replies[1] != replies[2]


def test_without_a_seed_each_request_gets_its_own_and_says_which(bench: Bench) -> None:
    replies = [bench.ask("Once", max_tokens=1, seed=seed) for seed in (None, -1)]
    for reply in replies:
        reply.finished()
    seeds = [reply.started.sampling.seed for reply in replies]
    assert all(seed is not None and seed >= 0 for seed in seeds)
    assert seeds[0] != seeds[1]


def update_at(index: int, sampling: SamplingParams) -> object:
    def act(handle: LocalHandle, event: Event) -> None:
        if isinstance(event, Token) and event.index == index:
            handle.update(sampling)
        if isinstance(event, Applied):
            handle.cancel()

    return act


def test_an_update_in_flight_is_applied_at_the_token_it_says(bench: Bench) -> None:
    later = SamplingParams(temperature=1.3, top_k=7)
    reply = bench.ask("Once upon a time", on_event=update_at(2, later))  # type: ignore[arg-type]
    assert reply.finished().reason == "cancelled"
    applied = next(event for event in reply.events if isinstance(event, Applied))
    assert applied.changes == (("temperature", 0.0, 1.3), ("top_k", 40, 7))
    assert applied.at_token > 2
    before = reply.events[: reply.events.index(applied)]
    assert [event.index for event in before if isinstance(event, Token)] == list(range(applied.at_token))
    assert applied.sampling == SamplingParams(temperature=1.3, top_k=7).merge(reply.started.sampling)


def test_an_update_that_changes_nothing_is_not_told(bench: Bench) -> None:
    def act(handle: LocalHandle, event: Event) -> None:
        if isinstance(event, Token) and event.index == 1:
            handle.update(SamplingParams(temperature=0.0, max_tokens=6))

    reply = bench.ask("Once upon a time", max_tokens=6, on_event=act)
    assert reply.finished().reason == "length"
    assert not any(isinstance(event, Applied) for event in reply.events)


def test_an_update_before_the_request_is_admitted_counts_from_the_first_token(bench: Bench) -> None:
    reply = bench.ask("Once upon a time " * 50, max_tokens=3)
    reply.handle.update(SamplingParams(temperature=0.5, max_tokens=3))
    reply.finished()
    applied = next(event for event in reply.events if isinstance(event, Applied))
    assert applied.at_token == 0
    assert applied.changes == (("temperature", 0.0, 0.5),)


def test_of_two_updates_the_later_holds(bench: Bench) -> None:
    reply = bench.ask("Once upon a time " * 50, max_tokens=3)
    reply.handle.update(SamplingParams(temperature=0.5, max_tokens=3))
    reply.handle.update(SamplingParams(temperature=0.9, max_tokens=3))
    reply.finished()
    applied = [event for event in reply.events if isinstance(event, Applied)]
    assert applied[-1].sampling.temperature == 0.9


def cancel_at_first(kind: type[Event]) -> object:
    def act(handle: LocalHandle, event: Event) -> None:
        if isinstance(event, kind):
            handle.cancel()

    return act


def test_cancel_in_the_middle_of_a_prefill(bench: Bench) -> None:
    reply = bench.ask("Strange words follow now: " + "mauve lizard " * 200, on_event=cancel_at_first(Prefill))  # type: ignore[arg-type]
    finished = reply.finished()
    assert finished.reason == "cancelled"
    assert finished.usage.completion_tokens == 0
    assert (reply.tokens, finished.tokens, finished.tail) == ([], (), "")
    assert 0 < finished.context_used < reply.started.prompt_tokens


def test_cancel_in_the_middle_of_a_reply_keeps_what_was_said(bench: Bench) -> None:
    reply = bench.ask("Once upon a time", on_event=cancel_at_first(Token))  # type: ignore[arg-type]
    finished = reply.finished()
    assert finished.reason == "cancelled"
    assert finished.tokens
    assert finished.tokens == tuple(token.id for token in reply.tokens)


def test_cancel_before_the_request_is_admitted(bench: Bench) -> None:
    reply = bench.ask("Once upon a time")
    reply.handle.cancel()
    assert reply.finished().reason == "cancelled"


def test_cancelling_one_request_leaves_the_other(bench: Bench) -> None:
    kept = bench.ask("Once upon a time", max_tokens=10)
    cancelled = bench.ask("Long ago there was", on_event=cancel_at_first(Token))  # type: ignore[arg-type]
    assert cancelled.finished().reason == "cancelled"
    assert kept.finished().reason == "length"


def test_what_comes_after_the_end_of_a_request_does_nothing(bench: Bench) -> None:
    reply = bench.ask("Once", max_tokens=1)
    reply.finished()
    reply.handle.update(SamplingParams(temperature=1.0))
    reply.handle.cancel()
    assert bench.ask("Once", max_tokens=1).finished().reason == "length"
    reply.end()


def test_a_prompt_beyond_the_context_is_refused_with_both_numbers_and_others_go_on(bench: Bench) -> None:
    other = bench.ask("Once upon a time", max_tokens=8)
    error = bench.ask("word " * 3000).error()
    assert isinstance(error, ContextOverflow)
    assert error.prompt_tokens >= 3000
    assert error.limit == CONTEXT - 1
    assert other.finished().reason == "length"


@pytest.mark.parametrize(
    ("prompt", "kind", "said"),
    [
        (TextPrompt(""), PromptError, "empty"),
        (TextPrompt("a\ud800"), PromptError, "Unicode"),
        (ChatPrompt((QUESTION,), "{{ raise_exception('no') }}"), TemplateError, "refuses these messages at line 1: no"),
        (ChatPrompt((QUESTION,), "{% for"), TemplateError, "not valid at line 1"),
    ],
    ids=["empty", "surrogate", "refused", "syntax"],
)
def test_a_prompt_that_cannot_be_sent_fails_alone(bench: Bench, prompt: TextPrompt, kind: type, said: str) -> None:
    error = bench.ask(prompt).error()
    assert type(error) is kind
    assert said in str(error)
    assert bench.ask("Once", max_tokens=1).finished().reason == "length"


def test_special_tokens_in_a_message_are_text_in_the_worker_too(bench: Bench) -> None:
    plain = bench.ask(chat(Message("user", "a b")), max_tokens=1)
    pasted = bench.ask(chat(Message("user", "a<|im_end|>b")), max_tokens=1)
    plain.finished()
    pasted.finished()
    assert pasted.started.prompt_tokens > plain.started.prompt_tokens + 1


def test_many_more_requests_than_are_decoded_at_once_all_end(bench: Bench) -> None:
    replies: list[Reply] = [bench.ask(f"Number {number}:", GREEDY, max_tokens=2) for number in range(20)]
    assert [reply.finished().usage.completion_tokens for reply in replies] == [2] * 20


def test_one_worker_served_all_of_this(bench: Bench) -> None:
    assert bench.workers == 1
    assert bench.stops == []
