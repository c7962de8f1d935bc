"""A backend that tests drive: no model, no process, no thread of its own, and the same events every time.

Manual by default: a test says ``ready()`` and then ``step()`` for each token. With ``auto`` loading and every reply
happen inside the call that asked for them. Callbacks run on the thread of whoever calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lmlab.backends.base import EventSink, StatusSink, Stopped
from lmlab.errors import EngineStopped, LmlabError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.looks import Alternative, Distribution, Inspect, Reweigh, Stage
from lmlab.worker.messages import (
    Applied,
    Event,
    Failed,
    Finished,
    FinishReason,
    Layout,
    Loading,
    LoadSpec,
    ModelInfo,
    Prefill,
    Ready,
    Request,
    Started,
    Timings,
    Token,
    Usage,
)

Pieces: TypeAlias = Iterable[str] | Callable[[Request], Iterable[str]]

FAKE_SEED = 1234
FAKE_TIMINGS = Timings(ttft_s=0.1, prefill_tokens_per_s=300.0, decode_tokens_per_s=100.0, total_s=0.5)


def fake_info(path: str = "fake.gguf") -> ModelInfo:
    """Return what a small chat model would report; change it with ``dataclasses.replace``."""
    return ModelInfo(
        path=path,
        description="fake 1M Q4_0",
        architecture="fake",
        parameters=1_000_000,
        size=1_000_000,
        vocabulary=256,
        context=8192,
        context_trained=8192,
        chat_template=True,
        template_hash="fake-template",
        recommended=SamplingParams(),
        reuse="full",
        threads=2,
        devices=("CPU",),
        gpu_layers=0,
        load_s=0.2,
        llama_cpp="0.0.0",
        layout=Layout(
            sequences=8,
            outputs=8,
            ubatch=512,
            flash_attention=True,
            key_type="f16",
            value_type="f16",
            mapped=True,
            weights=1_000_000,
            kv=8_000_000,
            compute=1_000_000,
            available=1_000_000_000,
        ),
    )


@dataclass(frozen=True, slots=True)
class Script:
    """One reply to come: its pieces, one a token, and how it ends (``error`` in place of a Finished)."""

    pieces: Pieces = ("A", " fake", " reply", ".")
    prompt_tokens: int = 10
    cached: int = 0
    reason: FinishReason = "stop"
    tail: str = ""
    error: LmlabError | None = None


@dataclass(slots=True)
class FakeHandle:
    """One request under way. ``Token`` ids count up from 100, so that each token can be told apart."""

    backend: FakeBackend
    request: Request
    sink: EventSink
    script: Script
    pieces: deque[str] = field(default_factory=deque)
    tokens: list[int] = field(default_factory=list)
    sampling: SamplingParams = DEFAULTS
    wanted: SamplingParams | None = None
    started: bool = False
    ended: bool = False

    def update(self, sampling: SamplingParams) -> None:
        self.backend.updates.append((self.request.id, sampling))
        self.wanted = sampling

    def cancel(self, candidate: int | None = None) -> None:
        self.backend.cancels.append(self.request.id)
        if candidate in (None, 0):
            self.finish("cancelled")

    def start(self) -> None:
        """Say Started and the whole Prefill."""
        self.started = True
        pieces = self.script.pieces(self.request) if callable(self.script.pieces) else self.script.pieces
        self.pieces.extend(pieces)
        self.sampling = self._resolve(self.request.sampling)
        script, name = self.script, self.request.id
        self.sink(Started(name, script.prompt_tokens, script.cached, self.sampling))
        self.sink(Prefill(name, script.prompt_tokens, script.prompt_tokens))

    def step(self) -> None:
        """Say one thing more: the start, else a token, else the end."""
        if not self.started:
            if self.script.error is not None and not self._has_pieces():
                self.fail(self.script.error)
            else:
                self.start()
            return
        if self.wanted is not None:
            self._apply(self.wanted)
        if not self.pieces:
            if self.script.error is not None:
                self.fail(self.script.error)
            else:
                self.finish(self.script.reason, self.script.tail)
            return
        index = len(self.tokens)
        self.tokens.append(100 + index)
        self.sink(Token(self.request.id, index, 100 + index, self.pieces.popleft()))

    def finish(self, reason: FinishReason, tail: str = "") -> None:
        if self.ended:
            return
        self.ended = True
        prompt = self.script.prompt_tokens if self.started else 0
        usage = Usage(prompt, self.script.cached if self.started else 0, len(self.tokens))
        used = prompt + len(self.tokens)
        self.sink(Finished(self.request.id, reason, tail, tuple(self.tokens), usage, FAKE_TIMINGS, used))

    def fail(self, error: LmlabError) -> None:
        if not self.ended:
            self.ended = True
            self.sink(Failed(self.request.id, error))

    def _apply(self, wanted: SamplingParams) -> None:
        self.wanted = None
        before, self.sampling = self.sampling, self._resolve(wanted)
        if changes := before.changes(self.sampling):
            self.sink(Applied(self.request.id, len(self.tokens), self.sampling, changes))

    def _resolve(self, asked: SamplingParams) -> SamplingParams:
        seed = asked.seed if asked.seed is not None and asked.seed >= 0 else FAKE_SEED
        return replace(asked, seed=seed).merge(self.backend.info.recommended).merge(DEFAULTS)

    def _has_pieces(self) -> bool:
        return callable(self.script.pieces) or bool(tuple(self.script.pieces))


class FakeBackend:
    """Constructed as an opener: ``FakeBackend(spec, on_status)``.

    ``requests``, ``updates`` (request id, sampling), ``cancels`` and ``inspections`` are what it was asked, in order;
    ``starts`` counts the loads. A request without a script of its own gets ``Script()``.
    """

    def __init__(
        self, spec: LoadSpec, on_status: StatusSink, *, auto: bool = False, info: ModelInfo | None = None
    ) -> None:
        self.spec = spec
        self.auto = auto
        self.info = info or fake_info(spec.path)
        self.requests: list[Request] = []
        self.updates: list[tuple[str, SamplingParams]] = []
        self.cancels: list[str] = []
        self.inspections: list[Inspect | Reweigh] = []
        self.starts = 0
        self.closed = False
        self.state: str = "new"
        self._on_status = on_status
        self._scripts: deque[Script] = deque()
        self._handles: list[FakeHandle] = []
        self._changed = threading.Condition()
        self._error: LmlabError | None = None

    # What lab calls

    def start(self) -> None:
        if self.state in ("loading", "ready") or self.closed:
            return
        self.starts += 1
        self._become("loading")
        self._on_status(Loading(0.0))
        if self.auto:
            self.ready()

    def wait_ready(self) -> ModelInfo:
        """As in the protocol; without ``auto`` another thread must call ``ready`` or ``fail_load``."""
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self.state != "loading")
        if self.state != "ready":
            raise self._error or EngineStopped("the engine was closed")
        return self.info

    def generate(self, request: Request, sink: EventSink) -> FakeHandle:
        self.requests.append(request)
        handle = FakeHandle(self, request, sink, self._scripts.popleft() if self._scripts else Script())
        self._handles.append(handle)
        if self.closed:
            handle.fail(EngineStopped("the engine was closed"))
        else:
            self.start()
            self._run_if_auto()
        return handle

    def inspect(self, command: Inspect | Reweigh, sink: EventSink) -> None:
        """Answer at once: one token was certain."""
        self.inspections.append(command)
        sampling = command.sampling.merge(self.info.recommended).merge(DEFAULTS)
        certain = Alternative(100, "A", 0, 10.0, (1.0,), None)
        sink(Distribution(command.request_id, sampling, (Stage("raw", 1, 0.0),), (certain,)))

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._become("closed")
        self._fail_all(EngineStopped("the engine was closed"))

    # What tests call

    def script(
        self,
        pieces: Pieces,
        *,
        prompt_tokens: int = 10,
        cached: int = 0,
        reason: FinishReason = "stop",
        tail: str = "",
        error: LmlabError | None = None,
    ) -> None:
        """Queue the next reply: a piece a token, or a function of the request that returns the pieces."""
        self._scripts.append(Script(pieces, prompt_tokens, cached, reason, tail, error))

    def loading(self, fraction: float) -> None:
        self._on_status(Loading(fraction))

    def ready(self, info: ModelInfo | None = None) -> None:
        """Say that the model is loaded; queued requests may step."""
        if info is not None:
            self.info = info
        self._become("ready")
        self._on_status(Ready(self.info))
        self._run_if_auto()

    def fail_load(self, error: LmlabError) -> None:
        """Say that the model cannot be loaded; queued requests fail with ``error``."""
        self._end(error, error)

    def crash(self, error: LmlabError | None = None) -> None:
        """Die: requests fail with EngineStopped, then Stopped is reported. The next request starts it again."""
        stopped = error or EngineStopped("the engine stopped: killed by signal 9")
        self._end(stopped, stopped if isinstance(stopped, EngineStopped) else EngineStopped(str(stopped)))

    def emit(self, event: Event) -> None:
        """Send any event to whoever made its request, ended or not."""
        next(handle for handle in self._handles if handle.request.id == event.request_id).sink(event)

    @property
    def running(self) -> tuple[FakeHandle, ...]:
        return tuple(handle for handle in self._handles if not handle.ended)

    def step(self, count: int = 1) -> None:
        """Let the oldest running request say ``count`` things more. The model must be ready."""
        assert self.state == "ready", f"step() while {self.state}: call ready() first"
        for _ in range(count):
            self.running[0].step()

    def finish(self) -> None:
        """Step until nothing runs."""
        while self.running:
            self.step()

    def _run_if_auto(self) -> None:
        if self.auto and self.state == "ready":
            self.finish()

    def _end(self, status: LmlabError, failure: LmlabError) -> None:
        self._error = status
        self._become("stopped")
        self._fail_all(failure)
        self._on_status(Stopped(status))

    def _fail_all(self, error: LmlabError) -> None:
        for handle in self.running:
            handle.fail(error)

    def _become(self, state: str) -> None:
        with self._changed:
            self.state = state
            self._changed.notify_all()
