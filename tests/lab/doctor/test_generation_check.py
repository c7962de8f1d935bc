"""A model made to speak: sound and unsound numbers, replies that differ, models that die or cannot be loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CHATML, write_encoder, write_llama

from lmlab.backends import ChatPrompt, Event, EventSink, Finished, LoadSpec, Request, StatusSink, TextPrompt
from lmlab.backends.fake import FakeBackend, fake_info
from lmlab.backends.local import LocalBackend
from lmlab.errors import EngineStopped, ModelLoadError
from lmlab.lab.doctor import generation
from lmlab.lab.doctor.finding import Finding
from lmlab.lab.doctor.generation import LEAST, TOKENS, check

SIX = "one two three four five six"


class Bench:
    """Runs the check with a fake model; ``prepare`` says what it answers, ``change`` what becomes of its events."""

    def __init__(self, *, chat: bool = True, auto: bool = True) -> None:
        self.chat = chat
        self.auto = auto
        self.backends: list[FakeBackend] = []
        self.prepare: Callable[[FakeBackend], None] = lambda backend: None
        self.change: Callable[[Event, int], Event] = lambda event, run: event

    def open(self, spec: LoadSpec, on_status: StatusSink) -> FakeBackend:
        bench = self

        class Changed(FakeBackend):
            def generate(self, request: Request, sink: EventSink) -> Any:
                run = len(self.requests)
                return super().generate(request, lambda event: sink(bench.change(event, run)))

        info = replace(fake_info(), chat_template=self.chat)
        self.backends.append(Changed(spec, on_status, auto=self.auto, info=info))
        self.prepare(self.backends[-1])
        return self.backends[-1]

    def found(self, cancelled: Callable[[], bool] = lambda: False) -> dict[str, Finding]:
        spec = LoadSpec("fake.gguf", draft="lookup")
        findings = check("fake", spec, self.open, lambda status: None, cancelled=cancelled)
        return {finding.name: finding for finding in findings}


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.prepare = lambda backend: [backend.script(SIX) for _ in range(2)] and None
    return bench


def test_a_sound_model_passes(bench: Bench) -> None:
    found = bench.found()
    assert set(found) == {"loaded", "numbers", "reply", "repeats", "speed"}
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["repeats"].text == "greedy, twice the same 6 tokens"
    assert found["reply"].text == f'"{SIX}"'
    (backend,) = bench.backends
    assert backend.closed
    assert (backend.spec.reuse, backend.spec.draft) == (False, None)
    first, second = backend.requests
    assert isinstance(first.prompt, ChatPrompt)
    assert (first.sampling.temperature, first.sampling.max_tokens) == (0, TOKENS)
    # As many as the first drew.
    assert second.sampling.max_tokens == 6


def test_a_base_model_continues_text() -> None:
    bench = Bench(chat=False)
    bench.found()
    assert isinstance(bench.backends[0].requests[0].prompt, TextPrompt)


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf, 0.5])
def test_numbers_that_are_none_are_broken(bench: Bench, bad: float) -> None:
    bench.prepare = lambda backend: [backend.script(SIX, logprobs=[-1.0, bad]) for _ in range(2)] and None
    finding = bench.found()["numbers"]
    assert (finding.level, finding.text.partition(" have")[0]) == ("broken", "1 of 6 tokens")
    assert finding.advice is not None


def test_a_reply_that_differs_the_second_time_is_a_warning(bench: Bench) -> None:
    def change(event: Event, run: int) -> Event:
        if isinstance(event, Finished) and run == 1:
            return replace(event, tokens=(*event.tokens[:3], 7, *event.tokens[4:]))
        return event

    bench.change = change
    finding = bench.found()["repeats"]
    assert (finding.level, dict(finding.values)) == ("warning", {"tokens": 6, "same": 3})
    assert "from token 4 of 6 on" in finding.text


def test_a_reply_too_short_says_so(bench: Bench) -> None:
    bench.prepare = lambda backend: backend.script("no")
    found = bench.found()
    assert set(found) == {"loaded", "reply"}
    assert (found["reply"].level, found["reply"].text) == (
        "note",
        "1 token came: too few to say anything of the model",
    )


def test_on_a_busy_machine_it_waits_for_as_many_tokens_as_say_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "_STEP_S", 0.001)
    (backend,) = backends = [FakeBackend(LoadSpec("fake.gguf"), lambda status: None, info=fake_info())]
    for _ in range(2):
        backend.script(SIX)
    backend.start()
    backend.ready()

    def one_token_a_look() -> bool:
        if backend.running:
            backend.step()
        return False

    # No time at all for a run, once its first tokens are there.
    findings = check(
        "fake",
        backend.spec,
        lambda spec, on_status: backends[0],
        lambda status: None,
        cancelled=one_token_a_look,
        run_s=0,
    )
    found = {finding.name: finding for finding in findings}
    assert found["repeats"].level == "ok"
    assert LEAST <= found["repeats"].values["tokens"] < TOKENS


def test_a_fast_model_is_said_in_whole_tokens(bench: Bench) -> None:
    def change(event: Event, run: int) -> Event:
        if isinstance(event, Finished) and event.timings is not None:
            return replace(event, timings=replace(event.timings, decode_tokens_per_s=3138.6))
        return event

    bench.change = change
    assert bench.found()["speed"].text.startswith("3,139 tokens/s;")


def test_a_model_that_dies_or_refuses_ends_the_check_with_its_error(bench: Bench) -> None:
    bench.prepare = lambda backend: backend.script("", error=EngineStopped("the engine stopped: killed"))
    with pytest.raises(EngineStopped, match="killed"):
        bench.found()
    assert bench.backends[0].closed


def test_one_that_cannot_be_loaded_ends_it_too(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "encoder.gguf")

    def opener(spec: LoadSpec, on_status: StatusSink) -> LocalBackend:
        return LocalBackend(spec, on_status, log_folder=tmp_path / "logs")

    with pytest.raises(ModelLoadError, match=r"encoder\.gguf"):
        list(check("it", LoadSpec(str(path)), opener, lambda status: None, cancelled=lambda: False))


def test_cancelled_it_ends_the_model_and_says_no_more() -> None:
    bench = Bench(auto=False)
    assert bench.found(cancelled=lambda: True) == {}
    assert bench.backends[0].closed


def test_cancelled_while_it_speaks_it_tells_the_model(bench: Bench) -> None:
    bench.prepare = lambda backend: None
    found = bench.found(cancelled=lambda: bool(bench.backends[0].requests))
    assert set(found) == {"loaded"}
    assert bench.backends[0].cancels


def test_a_real_worker_speaks_twice_alike(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "tiny.gguf", chat_template=CHATML)

    def opener(spec: LoadSpec, on_status: StatusSink) -> LocalBackend:
        return LocalBackend(spec, on_status, log_folder=tmp_path / "logs")

    spec = LoadSpec(str(path), context=512, threads=1)
    found = {f.name: f for f in check("tiny", spec, opener, lambda status: None, cancelled=lambda: False)}
    assert {finding.level for finding in found.values()} == {"ok"}
    assert found["repeats"].values["same"] == TOKENS
    assert found["speed"].values["decode_tokens_per_s"]
