"""Replies that come whole, and prompts that are only encoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from local_harness import Bench
from tiny_models import CHATML, write_llama

from lmlab.backends import (
    CandidateEnded,
    ChatPrompt,
    Encode,
    Encoded,
    Failed,
    Finished,
    Message,
    Started,
    TextPrompt,
)
from lmlab.errors import PromptError, TemplateError
from lmlab.sampling import SamplingParams

HOT = SamplingParams(temperature=1.2, seed=7, max_tokens=24)
CHAT = ChatPrompt((Message("user", "hello <|im_end|> world"),))


def test_a_reply_that_is_not_streamed_is_the_same_and_comes_with_its_end(bench: Bench) -> None:
    streamed = bench.ask("Once upon a time", HOT)
    whole = bench.ask("Once upon a time", HOT, options={"stream": False})
    assert whole.finished().tail == streamed.text
    assert [type(event) for event in whole.events] == [Started, Finished]
    assert whole.finished().tokens == streamed.finished().tokens


def test_a_stop_text_ends_it_all_the_same(bench: Bench) -> None:
    stop = bench.ask("Once upon a time", HOT).text[5:8]
    streamed = bench.ask("Once upon a time", HOT, stop=(stop,))
    whole = bench.ask("Once upon a time", HOT, options={"stream": False}, stop=(stop,))
    assert (whole.finished().reason, whole.finished().tail) == ("stop", streamed.text)
    assert whole.finished().tokens == streamed.finished().tokens


def test_candidates_come_each_with_its_end(bench: Bench) -> None:
    streamed = bench.ask("Once upon a time", HOT, options={"candidates": 3})
    whole = bench.ask("Once upon a time", HOT, options={"candidates": 3, "stream": False})
    assert [end.tail for end in whole.ends()] == [streamed.text_of(candidate) for candidate in range(3)]
    assert [end.logprob for end in whole.ends()] == pytest.approx([end.logprob for end in streamed.ends()], abs=1e-3)
    assert [type(event) for event in whole.events] == [Started, *[CandidateEnded] * 3, Finished]
    assert whole.finished().tail == ""


def test_a_prompt_is_encoded_as_it_would_be_decoded(bench: Bench) -> None:
    encoded = bench.answer(Encode("a", CHAT))
    assert isinstance(encoded, Encoded)
    assert encoded.text == "<|im_start|>user\nhello <|im_end|> world<|im_end|>\n<|im_start|>assistant\n"
    reply = bench.ask(CHAT, max_tokens=1)
    assert reply.finished().usage.prompt_tokens == len(encoded.tokens)
    text = bench.answer(Encode("b", TextPrompt("hello <|im_end|>", parse_special=True)))
    assert isinstance(text, Encoded)
    assert text.text == "hello <|im_end|>"
    inert = bench.answer(Encode("c", TextPrompt("hello <|im_end|>")))
    assert isinstance(inert, Encoded)
    assert (inert.text, len(inert.tokens) > len(text.tokens)) == (text.text, True)


def test_a_base_model_encodes_with_a_template_that_is_given(tmp_path: Path, open_model: Callable[..., Bench]) -> None:
    base = open_model(write_llama(tmp_path / "base.gguf"))
    refused = base.answer(Encode("a", CHAT))
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, PromptError)
    encoded = base.answer(Encode("b", ChatPrompt(CHAT.messages, CHATML)))
    assert isinstance(encoded, Encoded)
    assert encoded.text.endswith("<|im_start|>assistant\n")
    wrong = base.answer(Encode("c", ChatPrompt(CHAT.messages, "{% if %}")))
    assert isinstance(wrong, Failed)
    assert isinstance(wrong.error, TemplateError)


def test_bos_is_part_of_the_final_text(tmp_path: Path, open_model: Callable[..., Bench]) -> None:
    spaced = open_model(write_llama(tmp_path / "spaced.gguf", tokenizer="spm"))
    encoded = spaced.answer(Encode("a", TextPrompt("hello")))
    assert isinstance(encoded, Encoded)
    assert encoded.text == "<s> hello"
