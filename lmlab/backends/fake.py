"""A backend that tests drive: no model, no process, no thread of its own, and the same events every time.

Manual by default: a test says ``ready()`` and then ``step()`` for each token. With ``auto`` loading and every reply
happen inside the call that asked for them, or right after a callback that did. Callbacks run on the thread of whoever calls.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from lmlab.backends.base import EventSink, StatusSink, Stopped
from lmlab.backends.fake_reply import (
    FAKE_SEED,
    FAKE_TIMINGS,
    FakeCandidate,
    FakeHandle,
    Pieces,
    Script,
    words,
)
from lmlab.errors import EngineStopped, LmlabError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.looks import Alternative, Distribution, Inspect, Reweigh, Stage
from lmlab.worker.messages import (
    Event,
    Failed,
    FinishReason,
    Layout,
    Loading,
    LoadSpec,
    ModelInfo,
    Question,
    Ready,
    Request,
)
from lmlab.worker.prompts import Prompt, TextPrompt
from lmlab.worker.questions import Encode, Encoded, Rank, Ranked, Spell, Spelled

__all__ = ["FAKE_SEED", "FAKE_TIMINGS", "FakeBackend", "FakeCandidate", "FakeHandle", "Script", "fake_info"]


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


class FakeBackend:
    """Constructed as an opener: ``FakeBackend(spec, on_status)``.

    ``requests``, ``updates`` (request id, sampling), ``cancels``, ``candidate_cancels`` (request id, candidate) and
    ``questions`` are what it was asked, in order; ``starts`` counts the loads. A request without a script of its own gets
    ``Script()``. ``scores`` ranks, by the length of the answers unless replaced; ``ask_error`` answers every question.
    ``texts`` spell tokens, by id: a reply's as it was last said, a prompt's word, whatever a test puts in, else ``<id>``.
    ``cached`` tokens of what is encoded are in memory, or all of them.
    ``forgetful``: requests that have ended leave nothing behind, so that memory does not grow with their number.
    """

    def __init__(
        self,
        spec: LoadSpec,
        on_status: StatusSink,
        *,
        auto: bool = False,
        info: ModelInfo | None = None,
        forgetful: bool = False,
    ) -> None:
        self.spec = spec
        self.auto = auto
        self.forgetful = forgetful
        self.info = info or fake_info(spec.path)
        self.requests: list[Request] = []
        self.updates: list[tuple[str, SamplingParams]] = []
        self.cancels: list[str] = []
        self.candidate_cancels: list[tuple[str, int]] = []
        self.questions: list[Question] = []
        self.scores: Callable[[Rank], Iterable[float]] = lambda rank: [float(len(pair.answer)) for pair in rank.pairs]
        self.ask_error: LmlabError | None = None
        self.texts: dict[int, str] = {}
        self.cached = 0
        self.starts = 0
        self.closed = False
        self.state: str = "new"
        self._on_status = on_status
        self._scripts: deque[Script] = deque()
        self._handles: list[FakeHandle] = []
        self._running: list[FakeHandle] = []
        self._words: dict[str, int] = {}
        self._changed = threading.Condition()
        self._error: LmlabError | None = None
        self._stepping = threading.RLock()
        self._finishing = False

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
        handle = FakeHandle(self, request, sink, self._scripts.popleft() if self._scripts else Script())
        self._running.append(handle)
        if not self.forgetful:
            self.requests.append(request)
            self._handles.append(handle)
        if self.closed:
            handle.fail(EngineStopped("the engine was closed"))
        else:
            self.start()
            self._run_if_auto()
        return handle

    def ask(self, command: Question, sink: EventSink) -> None:
        """Answer at once: one token was certain, a token is a word, ``texts`` spell, and ``scores`` ranks."""
        if not self.forgetful:
            self.questions.append(command)
        error = EngineStopped("the engine was closed") if self.closed else self.ask_error
        sink(self._answer(command) if error is None else Failed(command.request_id, error))

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._become("closed")
        self._fail_all(EngineStopped("the engine was closed"))

    def spell(self, token: int) -> str:
        return self.texts.get(token, f"<{token}>")

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
        logprobs: Iterable[float] = (),
    ) -> None:
        """Queue the next reply: a piece a token, or a function of the request that returns the pieces."""
        kept = pieces if callable(pieces) or isinstance(pieces, str) else tuple(pieces)
        candidate = FakeCandidate(kept, reason, tail, logprobs=tuple(logprobs))
        self._scripts.append(Script((candidate,), prompt_tokens, cached, error))

    def script_candidates(
        self, candidates: Iterable[FakeCandidate | str], *, prompt_tokens: int = 10, cached: int = 0
    ) -> None:
        """Queue the next reply of several candidates. A plain text stops by itself and has the log-probability -1."""
        made = (FakeCandidate(one, logprob=-1.0) if isinstance(one, str) else one for one in candidates)
        self._scripts.append(Script(tuple(made), prompt_tokens, cached))

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
        self._running = [handle for handle in self._running if not handle.ended]
        return tuple(self._running)

    def step(self, count: int = 1, request_id: str | None = None) -> None:
        """Let the oldest running request, or the one named, do ``count`` steps. The model must be ready."""
        assert self.state == "ready", f"step() while {self.state}: call ready() first"
        for _ in range(count):
            handle = next(one for one in self.running if request_id in (None, one.request.id))
            handle.step()

    def finish(self) -> None:
        """Step until nothing runs."""
        while self.running:
            self.step()

    def _run_if_auto(self) -> None:
        if not self.auto:
            return
        with self._stepping:
            # A request that a callback makes waits for its turn, as it would on another thread: no matter how many
            # follow one another, calls do not nest.
            if self._finishing or self.state != "ready":
                return
            self._finishing = True
            try:
                self.finish()
            finally:
                self._finishing = False

    def _answer(self, command: Question) -> Event:
        match command:
            case Inspect() | Reweigh():
                sampling = command.sampling.merge(self.info.recommended).merge(DEFAULTS)
                certain = Alternative(100, "A", 0, 10.0, (1.0,), None)
                return Distribution(command.request_id, sampling, (Stage("raw", 1, 0.0),), (certain,))
            case Encode():
                text = _final_text(command.prompt)
                tokens = tuple(self._word(word) for word in words(text))
                return Encoded(command.request_id, tokens, text, min(self.cached, len(tokens)))
            case Spell():
                return Spelled(command.request_id, tuple(map(self.spell, command.tokens)))
            case Rank():
                return Ranked(command.request_id, tuple(self.scores(command)))

    def _word(self, word: str) -> int:
        token = self._words.setdefault(word, len(self._words))
        self.texts.setdefault(token, word)
        return token

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


def _final_text(prompt: Prompt) -> str:
    if isinstance(prompt, TextPrompt):
        return prompt.text
    return "".join(f"{message.role}: {message.content}\n" for message in prompt.messages) + "assistant:"
