"""What an engine replies: the same as a bare loop would, alone or in company, from nothing or from a prefix it holds."""

from __future__ import annotations

import numpy as np
import pytest
from engine_drive import HOT, Drive, OpenEngine, alone, check_nothing_left, check_same, noise, request
from loaded_models import THREADS

from lmlab.engine import Admitted, Drawn, Ended, Engine, Prefilled
from lmlab.engine.request import EndReason, EngineEvent, Running
from lmlab.llama import Context, DecodeStatus, Model

PROMPT = "Once upon a time, in a small village by the sea,"


def test_a_greedy_reply_is_that_of_a_bare_loop(smollm2_model: Model, open_engine: OpenEngine) -> None:
    prompt = smollm2_model.vocabulary.tokenize(PROMPT, special=False)
    reply = alone(open_engine(smollm2_model), request("a", prompt, max_tokens=40))

    context = Context(smollm2_model, context=256, sequences=1, idle=0, batch=64, threads=THREADS)
    bare: list[int] = []
    tokens, position = prompt, 0
    while len(bare) < 40:
        context.batch.clear()
        row = context.batch.add(tokens, position, 0, logits=True)
        assert context.decode() is DecodeStatus.DONE
        position += len(tokens)
        tokens = [int(context.logits(row).argmax())]
        bare += tokens
    context.close()
    assert reply.tokens == bare
    assert (reply.ended.reason, reply.ended.drawn, reply.ended.cached) == ("length", 40, 0)


def test_a_chat_reply_ends_itself(smollm2_model: Model, open_engine: OpenEngine) -> None:
    chat = "<|im_start|>user\nSay only the word: yes<|im_end|>\n<|im_start|>assistant\n"
    prompt = smollm2_model.vocabulary.tokenize(chat, special=True)
    reply = alone(open_engine(smollm2_model), request("a", prompt, max_tokens=100))
    drawn: list[Drawn] = reply.of(Drawn)
    assert reply.ended.reason == "stop"
    assert [event.end for event in drawn] == [False] * (len(drawn) - 1) + [True]
    assert smollm2_model.vocabulary.is_end(drawn[-1].token)
    assert reply.ended.drawn == len(drawn) < 100
    assert reply.ended.held == len(prompt) + len(drawn) - 1, "the end token is never decoded"


def test_four_together_reply_as_each_alone(smollm2_model: Model, open_engine: OpenEngine) -> None:
    texts = [PROMPT, "The capital of France is", "def fibonacci(n):", "Water boils at"]
    prompts = [smollm2_model.vocabulary.tokenize(text, special=False) for text in texts]
    requests = [request(str(number), prompt) for number, prompt in enumerate(prompts)]
    engine = open_engine(smollm2_model)
    together = Drive(engine).finish(*requests)
    check_nothing_left(engine)
    for new in requests:
        check_same(together[new.id], alone(open_engine(smollm2_model), new), tolerance=0.15)


def test_company_changes_no_reply(any_tiny: Model, open_engine: OpenEngine) -> None:
    requests = [request(str(seed), noise(10 + 30 * seed, seed), max_tokens=20 - seed) for seed in range(7)]
    engine = open_engine(any_tiny, sequences=3)
    together = Drive(engine).finish(*requests)
    check_nothing_left(engine)
    for new in requests:
        check_same(together[new.id], alone(open_engine(any_tiny), new))


def test_a_seed_decides_the_reply(tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(tiny)
    first, again, other = (alone(engine, request("a", noise(10), HOT, seed=seed)).tokens for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_what_is_said_and_in_what_order(tiny: Model, open_engine: OpenEngine) -> None:
    reply = alone(open_engine(tiny), request("a", noise(300), max_tokens=3))
    kinds = [type(event) for event in reply.events]
    prefills: list[Prefilled] = reply.of(Prefilled)
    assert kinds == [Admitted, *[Prefilled] * len(prefills), Drawn, Drawn, Drawn, Ended]
    assert len(prefills) > 1
    done = [event.done for event in prefills]
    assert done == sorted(set(done))
    assert (done[-1], {event.total for event in prefills}) == (300, {300})
    assert [event.index for event in reply.of(Drawn)] == [0, 1, 2]


def test_logprobs_are_of_the_model_before_any_sampler(tiny: Model, open_engine: OpenEngine) -> None:
    engine = open_engine(tiny)
    seen: list[np.ndarray] = record_logits(engine)
    reply = alone(engine, request("a", noise(10), HOT, top_k=3))
    for logits, token, logprob in zip(seen, reply.tokens, reply.logprobs, strict=True):
        exact = logits.astype(np.float64)
        assert logprob == pytest.approx(exact[token] - np.log(np.exp(exact).sum()), abs=1e-4)


def record_logits(engine: Engine) -> list[np.ndarray]:
    """The logits behind each drawn token, as they are drawn."""
    seen: list[np.ndarray] = []
    draw = engine._drawing.draw

    def recorded(running: Running, row: int, now: float, events: list[EngineEvent]) -> EndReason | None:
        seen.append(engine._context.logits(row).copy())
        return draw(running, row, now, events)

    engine._drawing.draw = recorded  # type: ignore[method-assign]
    return seen


def test_an_extension_decodes_only_what_is_new(any_tiny: Model, open_engine: OpenEngine) -> None:
    prompt, more = noise(120), noise(7, seed=9)
    drive = Drive(open_engine(any_tiny))
    first = drive.finish(request("first", prompt))["first"]
    longer = [*prompt, *first.tokens, *more]
    drive.rows.clear()
    second = drive.finish(request("second", longer))["second"]
    assert second.ended.cached == len(longer) - len(more) - 1, "the last token of the first reply was never decoded"
    assert second.of(Admitted)[0].cached == second.ended.cached
    assert sum(drive.rows) == len(more) + 1 + 12 - 1
    check_same(second, alone(open_engine(any_tiny), request("second", longer)))
    check_nothing_left(drive.engine)


def test_a_conversation_is_reused_on_a_real_model(smollm2_model: Model, open_engine: OpenEngine) -> None:
    tokenize = smollm2_model.vocabulary.tokenize
    prompt = tokenize("<|im_start|>user\nName three colours.<|im_end|>\n<|im_start|>assistant\n", special=True)
    drive = Drive(open_engine(smollm2_model))
    first = drive.finish(request("first", prompt))["first"]
    more = tokenize("<|im_end|>\n<|im_start|>user\nAnd two more?<|im_end|>\n<|im_start|>assistant\n", special=True)
    longer = [*prompt, *first.tokens, *more]
    drive.rows.clear()
    second = drive.finish(request("second", longer))["second"]
    assert second.ended.cached == len(prompt) + len(first.tokens) - 1
    assert sum(drive.rows) == len(longer) - second.ended.cached + len(second.tokens) - 1
    check_same(second, alone(open_engine(smollm2_model), request("second", longer)), tolerance=0.15)


def test_the_same_prompt_again_decodes_its_last_token_only(tiny: Model, open_engine: OpenEngine) -> None:
    drive = Drive(open_engine(tiny))
    first = drive.finish(request("first", noise(50)))["first"]
    again = drive.finish(request("again", noise(50)))["again"]
    assert again.ended.cached == 49
    check_same(first, again)


def test_two_that_run_at_once_share_no_fate(tiny: Model, open_engine: OpenEngine) -> None:
    """Both begin from one idle prefix and go on differently; then a third takes what is left of it."""
    shared = noise(60)
    drive = Drive(open_engine(tiny))
    drive.finish(request("base", shared, max_tokens=1))
    requests = [request(str(seed), [*shared, *noise(8, seed)]) for seed in (1, 2, 3)]
    together = drive.finish(*requests)
    for new in requests:
        assert together[new.id].ended.cached == 60
        check_same(together[new.id], alone(open_engine(tiny), new))


def test_a_recurrent_model_goes_on_from_the_end_of_a_prompt_only(recurrent: Model, open_engine: OpenEngine) -> None:
    prompt = noise(50)
    drive = Drive(open_engine(recurrent))
    drive.finish(request("first", prompt))
    less = drive.finish(request("less", [*prompt[:49], *noise(5, seed=2)]))["less"]
    assert less.ended.cached == 0
    other = drive.finish(request("other", [*prompt, *noise(5, seed=3)]))["other"]
    assert other.ended.cached == 50
    check_same(other, alone(open_engine(recurrent), request("other", [*prompt, *noise(5, seed=3)])))


def test_a_prompt_beyond_the_sliding_window_continues_from_its_prefix(
    gemma3_model: Model, open_engine: OpenEngine
) -> None:
    vocabulary = gemma3_model.vocabulary
    text = "".join(f"Chapter {number}. The sea was calm and the boats went out early.\n" for number in range(40))
    prompt = [vocabulary.bos, *vocabulary.tokenize(text, special=False)]
    assert len(prompt) > gemma3_model.sliding_window + 60
    drive = Drive(open_engine(gemma3_model, context=1024))
    first = drive.finish(request("first", prompt, max_tokens=4))["first"]
    longer = [*prompt, *first.tokens, *vocabulary.tokenize("\nThe end came when", special=False)]
    seen = record_logits(drive.engine)
    second = drive.finish(request("second", longer, max_tokens=1))["second"]
    assert second.ended.cached == len(prompt) + 3

    # One sequence, never shared nor moved, decoded in chunks of the same sizes: other sizes shift the logits by up to 1.
    context = Context(gemma3_model, context=1024, sequences=1, idle=0, batch=512, threads=THREADS)
    position = 0
    for count in drive.rows:
        context.batch.clear()
        row = context.batch.add(longer[position : position + count], position, 0, logits=True)
        assert context.decode() is DecodeStatus.DONE
        position += count
    assert position == len(longer)
    np.testing.assert_allclose(seen[0], context.logits(row), atol=0.01)
    context.close()
