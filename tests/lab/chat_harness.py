"""A chat at a desk: real store, fake backends and models, and every event it told, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from lmlab.backends import LoadSpec, StatusSink
from lmlab.backends.fake import FakeBackend
from lmlab.errors import LmlabError, ModelNotFound
from lmlab.lab.chat import Chat, ChatEvent
from lmlab.models import GgufHeader, ModelFile, Progress
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Store

E = TypeVar("E")

RECOMMENDED = SamplingParams(temperature=0.6, top_k=20)


def model_file(ref: str, *, chat_template: str | None = "{{ messages }}", notice: str | None = None) -> ModelFile:
    header = GgufHeader(
        version=3,
        architecture="fake",
        name=ref,
        parameters=134_515_008,
        quantization="Q4_0",
        context_length=8192,
        block_count=1,
        embedding_length=1,
        chat_template=chat_template,
        recommended=RECOMMENDED,
        warnings=(),
        size=1,
        tensor_count=1,
        metadata={},
    )
    return ModelFile(ref=ref, path=Path(f"/models/{ref}.gguf"), header=header, notice=notice)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """``models`` are what can be resolved; a reference in ``held`` waits for its event first."""

    folder: Path
    auto: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    models: dict[str, ModelFile | LmlabError] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    events: list[ChatEvent] = field(default_factory=list)
    backends: list[FakeBackend] = field(default_factory=list)
    resolved: list[str] = field(default_factory=list)
    remembered: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    on_event: Callable[[ChatEvent], None] = lambda event: None

    def __post_init__(self) -> None:
        self.paths = Paths(self.folder / "config.toml", self.folder, self.folder / "logs")
        self.store = Store(self.paths.database)
        self.models = {"fake": model_file("fake"), "base": model_file("base", chat_template=None), **self.models}
        self.chat = self.make_chat(**self.options)

    def make_chat(self, **options: Any) -> Chat:
        return Chat(
            store=options.pop("store", self.store),
            paths=self.paths,
            config=options.pop("config", Config()),
            opener=self._open,
            listener=self._hear,
            resolve=self._resolve,
            fingerprint=lambda path: f"print-{path.stem}",
            remember=lambda model, paths: self.remembered.append(model.ref),
            clock=self.clock,
            **options,
        )

    def open(self, ref: str | None = "fake") -> FakeBackend:
        """Open a model, all the way to Ready, and return its backend."""
        self.chat.open_model(ref)
        self.settle()
        backend = self.backends[-1]
        if backend.state == "loading":
            backend.ready()
        return backend

    def settle(self) -> None:
        """Wait for the threads that open models."""
        for thread in threading.enumerate():
            if thread.name == "lmlab-model":
                thread.join(30)
                assert not thread.is_alive()

    def close(self) -> None:
        for gate in self.held.values():
            gate.set()
        self.chat.close()
        self.settle()
        self.store.close()

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def _hear(self, event: ChatEvent) -> None:
        self.events.append(event)
        self.on_event(event)

    def _open(self, spec: LoadSpec, on_status: StatusSink) -> FakeBackend:
        backend = FakeBackend(spec, on_status, auto=self.auto)
        backend.info = replace(backend.info, chat_template="base" not in spec.path, recommended=RECOMMENDED)
        self.backends.append(backend)
        return backend

    def _resolve(
        self,
        ref: str | None,
        *,
        paths: Paths,
        config: Config,
        offline: bool,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> ModelFile:
        name = ref or "fake"
        self.resolved.append(name)
        progress(Progress(name, 1, 2))
        if name in self.held:
            assert self.held[name].wait(30)
        found = self.models.get(name, ModelNotFound(f"no model is called {name!r}"))
        if isinstance(found, LmlabError):
            raise found
        return found
