"""Replies that begin with tokens already, and looks at tokens and at the cache, on the other side of the worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from local_harness import GREEDY, Bench, Reply

from lmlab.backends import (
    ChatPrompt,
    Constraint,
    Encode,
    Encoded,
    Event,
    Failed,
    Inspect,
    Message,
    Prompt,
    Snapshots,
    Spell,
    Spelled,
    TextPrompt,
    Token,
)
from lmlab.backends.local import LocalHandle
from lmlab.errors import UsageError
from lmlab.sampling import SamplingParams

HOT = SamplingParams(temperature=1.2, seed=7, max_tokens=16)
PROMPT = "Once upon a time there was a cat. The cat was"
OpenModel = Callable[..., Bench]


@pytest.fixture(scope="session")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_sliding_window(tmp_path_factory.mktemp("models") / "window.gguf", window=16)


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_recurrent(tmp_path_factory.mktemp("models") / "recurrent.gguf")


@pytest.fixture(params=["tiny", "windowed", "recurrent", "smollm2", "gemma3"])
def model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def tokens_of(bench: Bench, text: str) -> tuple[int, ...]:
    """Return the tokens of ``text`` alone, without what the model puts first."""
    whole, lead = (bench.answer(Encode(name, TextPrompt(name))) for name in (f"a{text}", "a"))
    assert isinstance(whole, Encoded)
    assert isinstance(lead, Encoded)
    return whole.tokens[len(lead.tokens) :]


def whole_text(reply: Reply) -> str:
    tail = reply.text
    return reply.started.text + tail


def begun(bench: Bench, reply: tuple[int, ...], sampling: SamplingParams = GREEDY, **values: object) -> Reply:
    options = {"reply": reply, "constraint": values.pop("constraint", None), "candidates": values.pop("candidates", 1)}
    return bench.ask(PROMPT, sampling, options=options, **values)


def cached(bench: Bench, prompt: Prompt | str) -> Encoded:
    answer = bench.answer(Encode("look", TextPrompt(prompt) if isinstance(prompt, str) else prompt))
    assert isinstance(answer, Encoded)
    return answer


@pytest.mark.parametrize("options", [{}, {"draft": "lookup"}, {"deterministic": True}], ids=str)
def test_the_same_token_leads_to_the_same_reply(open_model: OpenModel, model: Path, options: dict[str, object]) -> None:
    if "recurrent" in model.name and "draft" in options:
        pytest.skip("a recurrent state cannot be cut back after a wrong guess: no draft is taken")
    bench = open_model(model, **options)
    original = bench.ask(PROMPT, GREEDY, max_tokens=24)
    tokens = original.finished().tokens
    for at in (1, 10, 23):
        branch = begun(bench, tokens[:at], max_tokens=24)
        finished = branch.finished()
        assert finished.tokens == tokens
        assert whole_text(branch) == original.text
        assert [token.index for token in branch.tokens] == list(range(at, 24))
        usage = finished.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (original.started.prompt_tokens + at, 24 - at)
        assert branch.started.prompt_tokens == usage.prompt_tokens
        if options.get("deterministic"):
            assert usage.cached_tokens == 0
        elif "recurrent" in model.name:
            # A state serves its own end only: the prompt's, or that of the branch before.
            assert original.started.prompt_tokens <= usage.cached_tokens < usage.prompt_tokens
        else:
            assert usage.cached_tokens == usage.prompt_tokens - 1


def test_another_token_leads_elsewhere_and_can_be_taken_back(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    original = bench.ask(PROMPT, GREEDY, max_tokens=16)
    tokens = original.finished().tokens
    (other,) = tokens_of(bench, " purple")
    branch = begun(bench, (*tokens[:3], other), max_tokens=16)
    assert branch.finished().tokens[:4] == (*tokens[:3], other)
    assert len(branch.finished().tokens) == 16
    assert branch.started.text.endswith(" purple")
    assert begun(bench, tokens[:4], max_tokens=16).finished().tokens == tokens


def test_a_chat_reply_is_branched_from_its_tokens(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    prompt = ChatPrompt((Message("user", "Name a colour."),))
    original = bench.ask(prompt, GREEDY, max_tokens=12)
    tokens = original.finished().tokens
    branch = bench.ask(prompt, GREEDY, options={"reply": tokens[:5]}, max_tokens=12)
    assert branch.finished().tokens == tokens
    assert branch.finished().usage.cached_tokens == original.started.prompt_tokens + 4


def test_a_character_across_the_boundary(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    text = "Hi \N{PILE OF POO} ok"
    tokens = tokens_of(bench, text)
    bound = Constraint("gbnf", f'root ::= "{text}"')
    for at in range(1, len(tokens)):
        reply = begun(bench, tokens[:at], constraint=bound, max_tokens=40)
        assert whole_text(reply) == text
        assert "\N{REPLACEMENT CHARACTER}" not in reply.started.text
        assert text.startswith(reply.started.text)
        assert reply.finished().tokens[:at] == tokens[:at]


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_text_across_the_boundary(open_model: OpenModel, smollm2: Path, stream: bool) -> None:
    bench = open_model(smollm2)
    bound = Constraint("gbnf", 'root ::= "Hello A-B-C-D then"')
    for head, seen in (
        ("Hello", "Hello"),
        ("Hello A", "Hello A"),
        ("Hello A-B", "Hello A"),
        ("Hello A-B-C-D", "Hello A"),
    ):
        options = {"reply": tokens_of(bench, head), "constraint": bound, "stream": stream}
        reply = bench.ask(PROMPT, GREEDY, options=options, stop=("-B-C",), max_tokens=40)
        assert (reply.finished().reason, whole_text(reply)) == ("stop", "Hello A")
        assert reply.started.text == seen


def test_candidates_begin_alike(open_model: OpenModel, model: Path) -> None:
    bench = open_model(model)
    tokens = bench.ask(PROMPT, GREEDY, max_tokens=5).finished().tokens
    many = begun(bench, tokens, HOT, candidates=3)
    alone = begun(bench, tokens, HOT)
    ends = many.ends()
    assert all(end.tokens[:5] == tokens for end in ends)
    assert all(len(end.tokens) <= 16 for end in ends)
    assert len({end.tokens for end in ends}) > 1
    assert ends[0].tokens == alone.finished().tokens
    assert many.finished().usage.completion_tokens == sum(len(end.tokens) - 5 for end in ends)


def test_a_reply_of_full_length_is_over(open_model: OpenModel, model: Path) -> None:
    bench = open_model(model)
    original = bench.ask(PROMPT, GREEDY, max_tokens=6)
    tokens = original.finished().tokens
    reply = begun(bench, tokens, max_tokens=6)
    finished = reply.finished()
    assert (finished.reason, finished.tokens, finished.usage.completion_tokens) == ("length", tokens, 0)
    assert whole_text(reply) == original.text
    assert finished.timings.ttft_s is None


def test_a_branch_that_is_cancelled_keeps_its_beginning(bench: Bench) -> None:
    tokens = bench.ask(PROMPT, GREEDY, max_tokens=5).finished().tokens

    def cancel(handle: LocalHandle, event: Event) -> None:
        if isinstance(event, Token):
            handle.cancel()

    reply = bench.ask(PROMPT, GREEDY, options={"reply": tokens}, max_tokens=800, on_event=cancel)
    finished = reply.finished()
    assert finished.reason == "cancelled"
    assert finished.tokens == (*tokens, *(token.id for token in reply.tokens))
    assert 5 < len(finished.tokens) < 800


def test_the_penalties_see_the_beginning(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    tokens = bench.ask(PROMPT, GREEDY, max_tokens=8).finished().tokens
    (following,) = begun(bench, tokens[:7], max_tokens=8).finished().tokens[7:]
    said = begun(bench, (*tokens[:6], following), max_tokens=8, repeat_penalty=90.0, repeat_last_n=7).finished().tokens
    assert said[7] not in said[:7]


def test_what_no_reply_can_begin_with_is_refused(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    (end,) = tokens_of_special(bench, "<|im_end|>")
    digits = Constraint("gbnf", "root ::= [0-9]+")
    wrong = [((end,), None, "over at"), ((-1,), None, "not one of"), ((2**40,), None, "not one of")]
    for reply, constraint, said in [*wrong, (tokens_of(bench, "12x"), digits, "the constraint forbids 'x'")]:
        error = begun(bench, reply, constraint=constraint).error()
        assert isinstance(error, UsageError)
        assert said in str(error)
    looked = bench.answer(Inspect("look", TextPrompt(PROMPT), (2**40,), GREEDY))
    assert isinstance(looked, Failed)
    assert "not one of" in str(looked.error)
    assert begun(bench, tokens_of(bench, "12"), constraint=digits, max_tokens=6).finished().reason in ("stop", "length")
    assert bench.workers == 1


def tokens_of_special(bench: Bench, text: str) -> tuple[int, ...]:
    return cached(bench, TextPrompt(text, parse_special=True)).tokens


def test_tokens_are_spelled_each_by_itself(open_model: OpenModel, smollm2: Path) -> None:
    bench = open_model(smollm2)
    tokens = tokens_of_special(bench, "Hello Paris<|im_end|>")
    assert bench.answer(Spell("a", tokens)) == Spelled("a", ("Hello", " Paris", "<|im_end|>"))
    refused = bench.answer(Spell("b", (-1,)))
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, UsageError)


def test_how_much_of_a_prompt_is_cached_is_what_its_request_finds(open_model: OpenModel, model: Path) -> None:
    bench = open_model(model)
    assert cached(bench, PROMPT).cached == 0
    first = bench.ask(PROMPT, GREEDY, max_tokens=6)
    first.finished()
    for prompt in (PROMPT + first.text + " and then", PROMPT[:20], "Nothing alike"):
        look = cached(bench, prompt)
        assert cached(bench, prompt) == look
        usage = bench.ask(prompt, GREEDY, max_tokens=1).finished().usage
        assert (usage.cached_tokens, usage.prompt_tokens) == (look.cached, len(look.tokens))
    assert open_model(model, reuse=False).ask(PROMPT, GREEDY, max_tokens=1).finished().usage.cached_tokens == 0


def test_the_cache_is_looked_at_while_a_reply_streams(bench: Bench) -> None:
    reply = bench.ask(PROMPT, GREEDY, max_tokens=400)
    reply.wait_for(lambda event: isinstance(event, Token))
    look = cached(bench, PROMPT)
    assert look.cached == len(look.tokens) - 1
    reply.handle.cancel()
    assert reply.finished().reason == "cancelled"


def test_a_reply_that_ends_with_a_stop_text_is_kept_on_disk(
    open_model: OpenModel, smollm2: Path, tmp_path: Path
) -> None:
    snapshots = Snapshots(str(tmp_path / "snapshots"), 1 << 30)
    first = open_model(smollm2, snapshots=snapshots)
    document = "The boats went out early, and the sea was calm. " * 30
    options = {"session": "one", "constraint": Constraint("gbnf", 'root ::= "It was calm. END of it"')}
    ended = first.ask(document, GREEDY, options=options, stop=(" END",), max_tokens=30)
    assert (ended.finished().reason, ended.text) == ("stop", "It was calm.")
    first.backend.close()
    second = open_model(smollm2, snapshots=snapshots)
    usage = second.ask(document, GREEDY, max_tokens=2).finished().usage
    assert usage.restored_tokens == usage.prompt_tokens - 1
