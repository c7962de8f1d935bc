from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_models import fake_header

from lmlab.backends import (
    Backend,
    ChatPrompt,
    Finished,
    Loading,
    LoadSpec,
    Message,
    Ready,
    Started,
    StatusSink,
    Token,
)
from lmlab.backends.fake import FAKE_SEED, FakeBackend
from lmlab.errors import ContextOverflow, DownloadError, EngineStopped, ModelLoadError
from lmlab.lab import generate
from lmlab.lab.generate import Ask, GenerateEvent, GenerateResult, Generation, Opened
from lmlab.models import ModelFile, Progress
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

USER = Message("user", "Hi")


def model_file(path: Path, chat_template: str | None = "{{ messages }}") -> ModelFile:
    header = fake_header(chat_template=chat_template)
    return ModelFile(ref="fake", path=path, header=header, notice=None)


@dataclass
class Lab:
    """A generation on a FakeBackend. ``on_event`` is what the test does at each event, as a person would."""

    paths: Paths
    model: ModelFile
    auto: bool = True
    config: Config = field(default_factory=Config)
    prepare: Callable[[FakeBackend], None] = lambda backend: None
    on_event: Callable[[GenerateEvent], None] = lambda event: None
    events: list[GenerateEvent] = field(default_factory=list)
    backends: list[FakeBackend] = field(default_factory=list)
    generation: Generation | None = None

    @property
    def backend(self) -> FakeBackend:
        return self.backends[0]

    def open(self, spec: LoadSpec, on_status: StatusSink) -> Backend:
        self.backends.append(FakeBackend(spec, on_status, auto=self.auto))
        self.prepare(self.backend)
        return self.backend

    def listen(self, event: GenerateEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def run(self, ask: Ask | None = None, **options: Any) -> GenerateResult | None:
        self.generation = Generation(
            ask or Ask({"prompt": "Hi"}),
            ref="fake",
            paths=self.paths,
            config=self.config,
            opener=self.open,
            listener=self.listen,
            **options,
        )
        return self.generation.run()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = Lab(Paths.find({"LMLAB_HOME": str(tmp_path)}), model_file(tmp_path / "fake.gguf"))
    monkeypatch.setattr(generate, "resolve", lambda ref, **_: lab.model)
    return lab


# The reply


def test_a_reply_is_whole(lab: Lab) -> None:
    lab.prepare = lambda backend: backend.script(["Hel", "lo"], tail="!", prompt_tokens=7, cached=3)
    result = lab.run(sampling=SamplingParams(temperature=0.5), load=LoadSpec(path="", threads=3), logprobs=True)
    assert result is not None
    assert (result.text, result.reason, len(result.best.tokens), result.error) == ("Hello!", "stop", 2, None)
    assert (result.usage.prompt_tokens, result.usage.cached_tokens, result.usage.completion_tokens) == (7, 3, 2)
    assert (result.sampling.temperature, result.sampling.top_k, result.sampling.seed) == (0.5, 40, FAKE_SEED)
    assert (result.model, result.info) == (lab.model, lab.backend.info)
    assert lab.backend.spec == LoadSpec(path=str(lab.model.path), threads=3, sequences=1)
    assert lab.backend.requests[0].logprobs
    assert lab.backend.closed


def test_the_listener_hears_all_in_order(lab: Lab) -> None:
    lab.prepare = lambda backend: backend.script(["a"])
    lab.run()
    kinds = [type(event) for event in lab.events]
    assert kinds[0] is Opened
    assert kinds.index(Loading) < kinds.index(Ready) < kinds.index(Started) < kinds.index(Token)
    assert kinds[-1] is Finished


def test_what_was_typed_beats_the_config_file(lab: Lab) -> None:
    lab.config = Config(system="Be brief", sampling=SamplingParams(temperature=0.1, top_k=5))
    lab.run(sampling=SamplingParams(temperature=0.9))
    request = lab.backend.requests[0]
    assert (request.sampling.temperature, request.sampling.top_k) == (0.9, 5)
    assert request.prompt == ChatPrompt((Message("system", "Be brief"), USER))


def test_the_model_that_loaded_is_remembered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: list[tuple[ModelFile, Paths]] = []
    monkeypatch.setattr(generate, "remember", lambda model, paths: remembered.append((model, paths)))
    lab.run()
    assert remembered == [(lab.model, lab.paths)]


def test_progress_of_fetching_is_heard(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(ref: str | None, *, progress: Callable[[Progress], None], **_: Any) -> ModelFile:
        progress(Progress("fake.gguf", 1, 2))
        return lab.model

    monkeypatch.setattr(generate, "resolve", resolve)
    lab.run()
    assert lab.events[0] == Progress("fake.gguf", 1, 2)


# Stopping


def test_cancelled_while_streaming_keeps_what_came(lab: Lab) -> None:
    lab.auto = False
    lab.prepare = lambda backend: backend.script(["one", " two", " three"])

    def on_event(event: GenerateEvent) -> None:
        match event:
            case Loading():
                lab.backend.ready()
            case Ready():
                lab.backend.step(2)
            case Token():
                assert lab.generation is not None
                lab.generation.cancel()

    lab.on_event = on_event
    result = lab.run()
    assert result is not None
    assert (result.text, result.reason) == ("one", "cancelled")
    assert lab.backend.cancels == ["run"]
    assert lab.backend.closed


def test_cancelled_while_loading_is_not_waited_for(lab: Lab) -> None:
    lab.auto = False

    def on_event(event: GenerateEvent) -> None:
        if isinstance(event, Loading):
            assert lab.generation is not None
            threading.Thread(target=lab.generation.cancel).start()

    lab.on_event = on_event
    assert lab.run() is None
    assert lab.backend.closed


def test_cancelled_while_fetching_is_no_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(ref: str | None, *, cancelled: Callable[[], bool], **_: Any) -> ModelFile:
        assert not cancelled()
        assert lab.generation is not None
        lab.generation.cancel()
        assert cancelled()
        raise DownloadError("cancelled")

    monkeypatch.setattr(generate, "resolve", resolve)
    assert lab.run() is None
    assert lab.backends == []


# Failing


def test_a_failure_before_any_text_is_raised(lab: Lab) -> None:
    lab.prepare = lambda backend: backend.script([], error=ContextOverflow(9000, 8192))
    with pytest.raises(ContextOverflow, match="9,000"):
        lab.run()
    assert lab.backend.closed


def test_a_model_that_does_not_load_is_raised(lab: Lab) -> None:
    lab.auto = False
    lab.on_event = lambda event: lab.backend.fail_load(ModelLoadError("bad")) if isinstance(event, Loading) else None
    with pytest.raises(ModelLoadError, match="bad"):
        lab.run()
    assert lab.backend.closed


def test_a_failure_in_the_middle_keeps_what_came(lab: Lab) -> None:
    lab.prepare = lambda backend: backend.script(["one", " two"], error=EngineStopped("killed"))
    result = lab.run()
    assert result is not None
    assert (result.text, result.reason, len(result.best.tokens), str(result.error)) == (
        "one two",
        "error",
        2,
        "killed",
    )


def test_fetching_that_fails_is_raised(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(ref: str | None, **_: Any) -> ModelFile:
        raise DownloadError("no network")

    monkeypatch.setattr(generate, "resolve", resolve)
    with pytest.raises(DownloadError, match="no network"):
        lab.run()


def test_the_backend_is_closed_when_the_listener_raises(lab: Lab) -> None:
    def on_event(event: GenerateEvent) -> None:
        if isinstance(event, Token):
            raise BrokenPipeError

    lab.on_event = on_event
    with pytest.raises(BrokenPipeError):
        lab.run()
    assert lab.backend.closed
