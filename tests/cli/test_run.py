from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from fake_models import fake_header
from harness import Fake, Lmlab, Terminal

from lmlab.backends import ChatPrompt, Loading, Message, TextPrompt
from lmlab.backends.fake import FAKE_SEED, FakeBackend
from lmlab.errors import ContextOverflow, EngineStopped
from lmlab.models import fingerprint


def asked(fake: Fake) -> str:
    prompt = fake.backend.requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    assert [message.role for message in prompt.messages] == ["user"]
    return prompt.messages[0].content


def base_model(fake: Fake) -> None:
    fake.model = replace(fake.model, header=fake_header(chat_template=None))


# The prompt


def test_words_are_joined_by_spaces(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", "Why", "is the sky", "blue?")
    assert asked(fake) == "Why is the sky blue?"


def test_stdin_comes_first_and_a_blank_line_between(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", "Summarise", "this", stdin="日本\nsecond line\n".encode())
    assert asked(fake) == "日本\nsecond line\n\nSummarise this"


def test_stdin_alone_is_the_prompt(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", stdin=b"from a pipe\n")
    assert asked(fake) == "from a pipe"


def test_words_after_two_dashes_may_look_like_options(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", "--", "-n", "--temp")
    assert asked(fake) == "-n --temp"


def test_stdin_that_is_not_utf8_is_refused(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("run", "hi", stdin=b"0123\xff")
    assert (outcome.code, outcome.out) == (2, "")
    assert "byte 4 is 0xFF" in outcome.err
    assert outcome.err.count("\n") == 1
    assert fake.backends == []


def test_a_system_message_goes_first(fake: Fake, lmlab: Lmlab) -> None:
    lmlab("run", "hi", "--system", "Be brief")
    assert fake.backend.requests[0].prompt == ChatPrompt((Message("system", "Be brief"), Message("user", "hi")))


def test_raw_sends_text(fake: Fake, lmlab: Lmlab) -> None:
    assert lmlab("run", "--raw", "hi").err == ""
    lmlab("run", "--raw", "--parse-special", "<|im_start|>")
    assert [backend.requests[0].prompt for backend in fake.backends] == [
        TextPrompt("hi"),
        TextPrompt("<|im_start|>", parse_special=True),
    ]


def test_a_base_model_continues_the_text_and_says_so_once(fake: Fake, lmlab: Lmlab) -> None:
    base_model(fake)
    outcome = lmlab("run", "The fox")
    assert fake.backend.requests[0].prompt == TextPrompt("The fox")
    assert outcome.err == (
        "lmlab: fake is a base model (its file has no chat template): it continues the text; "
        "for answers choose another, such as -m smollm2\n"
    )
    assert lmlab("run", "The fox", "--quiet").err == ""


def test_a_model_that_nobody_named_is_said_when_it_is_a_base_model(fake: Fake, lmlab: Lmlab) -> None:
    fake.model = replace(fake.model, used_last=True)
    assert lmlab("run", "The fox").err == ""
    base_model(fake)
    assert lmlab("run", "The fox").err.startswith("lmlab: the model used last, fake, is a base model (")
    assert lmlab("run", "The fox", "--quiet").err == ""


@pytest.mark.parametrize("base", [True, False])
def test_a_system_message_that_cannot_be_sent_is_refused(fake: Fake, lmlab: Lmlab, base: bool) -> None:
    if base:
        base_model(fake)
    outcome = lmlab("run", "hi", "--system", "x", *(() if base else ("--raw",)))
    assert (outcome.code, outcome.out) == (2, "")
    assert "--system has no place here" in outcome.err


def test_a_configured_system_message_that_is_not_sent_is_said(fake: Fake, lmlab: Lmlab, home) -> None:  # type: ignore[no-untyped-def]
    home.mkdir()
    (home / "config.toml").write_text('system = "Be brief"\n')
    assert "system message is not used" in lmlab("run", "hi", "--raw").err
    assert lmlab("run", "hi").err == ""


# The reply


def test_the_reply_and_nothing_else_is_on_stdout(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["Hel", "lo", "\x1b[2J"], tail="!")
    outcome = lmlab("run", "hi")
    assert (outcome.code, outcome.out, outcome.err) == (0, "Hello\x1b[2J!\n", "")


def test_a_reply_that_ends_its_line_gets_no_other(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["one\n"])
    assert lmlab("run", "hi").out == "one\n"


def test_a_terminal_is_shown_what_it_must_not_obey(fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.prepare = lambda backend: backend.script(["a\x1b", "[2J\x07"])
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        lmlab("run", "hi")
        assert terminal.shown == "a␛[2J␇\n"


@pytest.mark.parametrize("reason", ["length", "context"])
def test_why_a_reply_was_cut_is_said(fake: Fake, lmlab: Lmlab, reason: str) -> None:
    fake.prepare = lambda backend: backend.script(["a", "b"], reason=reason)  # type: ignore[arg-type]
    outcome = lmlab("run", "hi", "-n", "2")
    assert (outcome.code, outcome.out) == (0, "ab\n")
    assert {"length": "at 2 tokens, as --max-tokens says", "context": "the context is full at 12 tokens"}[
        reason
    ] in outcome.err
    assert lmlab("run", "hi", "-n", "2", "--quiet").err == ""


def test_sampling_that_cannot_matter_is_said(fake: Fake, lmlab: Lmlab) -> None:
    outcome = lmlab("run", "hi", "--temp", "0", "--top-p", "0.5")
    assert outcome.err == "lmlab: top-p 0.50: no effect at temperature 0\n"


def test_a_context_smaller_than_asked_for_is_said(fake: Fake, lmlab: Lmlab) -> None:
    assert "the context is 8,192 tokens, not the 9,999 asked for" in lmlab("run", "hi", "-c", "9999").err


def test_a_context_larger_than_asked_for_is_said(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: setattr(backend, "info", replace(backend.info, context=256))
    assert lmlab("run", "hi", "-c", "16").err == (
        "lmlab: the context is 256 tokens, not 16: llama.cpp allots them in steps of 256\n"
    )
    assert lmlab("run", "hi", "-c", "256").err == ""
    assert lmlab("run", "hi", "-c", "0").err == ""


def test_a_context_longer_than_the_training_is_said(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: setattr(backend, "info", replace(backend.info, context=16384))
    assert lmlab("run", "hi", "-c", "16384").err == (
        "lmlab: the context is 16,384 tokens; beyond the 8,192 it was trained for, the model may ramble\n"
    )


def test_layers_that_are_not_on_the_gpu_are_said(fake: Fake, lmlab: Lmlab) -> None:
    assert "0 layers are on the GPU, not the 5 asked for; in use: CPU" in lmlab("run", "hi", "-ngl", "5").err


def test_what_the_model_has_to_say_is_said(fake: Fake, lmlab: Lmlab) -> None:
    fake.model = replace(fake.model, notice="quick, not clever")
    assert lmlab("run", "hi").err == "lmlab: quick, not clever\n"
    assert lmlab("run", "hi", "--quiet").err == ""


def test_a_prompt_longer_than_the_context_has_both_numbers(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script([], error=ContextOverflow(9000, 8192))
    outcome = lmlab("run", "hi", "--quiet")
    assert (outcome.code, outcome.out) == (1, "")
    assert "9,000 tokens and the context holds 8,192" in outcome.err
    assert outcome.err.count("\n") == 1


def test_an_engine_that_dies_leaves_what_came(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["half a"], error=EngineStopped("the engine was killed"))
    outcome = lmlab("run", "hi")
    assert (outcome.code, outcome.out, outcome.err) == (1, "half a\n", "lmlab: the engine was killed\n")


# --json


def test_json_is_one_object_of_the_documented_shape(fake: Fake, lmlab: Lmlab) -> None:
    from lmlab import __version__

    fake.prepare = lambda backend: backend.script(["Grüße", "\n"], prompt_tokens=31, cached=4)
    outcome = lmlab("run", "hi", "--json", "--temp", "0.5", "-n", "9")
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert "Grüße" in outcome.out
    assert json.loads(outcome.out) == {
        "text": "Grüße\n",
        "finish_reason": "stop",
        "answer": None,
        "candidates": [
            {
                "text": "Grüße\n",
                "score": None,
                "logprob": None,
                "answer": None,
                "finish_reason": "stop",
                "tokens": 2,
                "note": None,
            }
        ],
        "selected": 0,
        "selector": None,
        "why": None,
        "usage": {"prompt_tokens": 31, "cached_tokens": 4, "completion_tokens": 2, "restored_tokens": 0},
        "timings": {
            "load_s": 0.2,
            "ttft_s": 0.1,
            "prefill_tokens_per_s": 300.0,
            "decode_tokens_per_s": 100.0,
            "draft_tokens": None,
            "draft_accepted": None,
        },
        "sampling": {
            "temperature": 0.5,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.05,
            "repeat_penalty": 1.0,
            "repeat_last_n": 64,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": FAKE_SEED,
            "max_tokens": 9,
            "stop": [],
        },
        "model": {"ref": "fake", "fingerprint": fingerprint(fake.model.path), "quantization": "Q4_0"},
        "engine": {
            "context": 8192,
            "sequences": 8,
            "outputs": 8,
            "ubatch": 512,
            "threads": 2,
            "gpu_layers": 0,
            "flash_attention": True,
            "kv_type": "f16,f16",
            "reuse": "full",
            "draft": None,
            "deterministic": False,
            "memory": {
                "weights": 1_000_000,
                "weights_mapped": True,
                "kv": 8_000_000,
                "compute": 1_000_000,
                "available": 1_000_000_000,
            },
        },
        "versions": {"lmlab": __version__, "llama_cpp": "0.0.0"},
    }
    assert fake.backend.requests[0].logprobs


def test_json_of_a_failure_in_the_middle_keeps_what_came(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["half a"], error=EngineStopped("the engine was killed"))
    outcome = lmlab("run", "hi", "--json")
    assert outcome.code == 1
    assert outcome.err == "lmlab: the engine was killed\n"
    result = json.loads(outcome.out)
    assert (result["text"], result["finish_reason"], result["timings"]["ttft_s"]) == ("half a", "error", None)


def test_json_of_a_failure_before_any_text_is_nothing(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script([], error=ContextOverflow(9000, 8192))
    outcome = lmlab("run", "hi", "--json")
    assert (outcome.code, outcome.out) == (1, "")


# Progress


def test_nothing_is_drawn_where_stderr_is_no_terminal(fake: Fake, lmlab: Lmlab) -> None:
    assert lmlab("run", "hi").err == ""


def test_a_bar_is_drawn_on_a_terminal_and_taken_away(fake: Fake, lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.auto = False

    def load_slowly(backend: FakeBackend) -> None:
        backend.loading(0.25)
        backend.loading(0.5)
        backend.ready()
        backend.auto = True

    fake.prepare = load_slowly
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("lmlab.cli.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setenv("TERM", "xterm")
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        outcome = lmlab("run", "hi")
        shown = terminal.shown
    assert (outcome.code, outcome.out) == (0, "A fake reply.\n")
    assert "loading the model" in shown
    assert shown.endswith("\x1b[2K")


def test_a_stage_that_is_soon_over_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmlab.cli.progress import Bars

    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr("lmlab.cli.progress.time.monotonic", lambda: 1.0)
        bars = Bars(quiet=False)
        bars.update("loading the model", Loading(0.0).fraction, 1)
        bars.update("loading the model", Loading(0.9).fraction, 1)
        bars.clear()
        assert terminal.shown == ""
