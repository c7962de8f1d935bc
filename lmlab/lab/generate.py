"""One reply with no screen and no session: a model reference and a task in, a result out; of several, the best.

Knows nothing of stdout or stderr: what happens is told to a listener, and whoever waits may cancel.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from lmlab.backends import (
    Backend,
    CandidateEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Handle,
    Loading,
    LoadSpec,
    ModelInfo,
    Prompt,
    Ready,
    Request,
    Status,
    StatusSink,
    Stopped,
    Timings,
    Token,
    Usage,
)
from lmlab.errors import EngineStopped, LmlabError, StoreError
from lmlab.lab.best_of import Candidate, Choice, Gather, Selector, SelectorSpec, open_selector
from lmlab.lab.draft import with_draft
from lmlab.lab.selector_models import SelectorModels
from lmlab.lab.selectors.candidates import contenders, likeliest
from lmlab.lab.task import Put, Task
from lmlab.models import ModelFile, Progress, remember, resolve
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Ask:
    """What to answer: the ``values`` of a ``task``, ``candidates`` times, of which ``selector`` chooses one."""

    values: Mapping[str, Any]
    task: Task = field(default_factory=Task)
    candidates: int = 1
    selector: SelectorSpec | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The model's file is on disk and its header was read; ``prompt`` is what will be sent to it."""

    model: ModelFile
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class NotRemembered:
    """The model could not be noted as the one used last; the reply goes on."""

    error: StoreError


@dataclass(frozen=True, slots=True)
class Choosing:
    """All candidates have ended; the selector takes its time."""

    selector: str


GenerateEvent: TypeAlias = Progress | Opened | NotRemembered | Choosing | Status | Event


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A reply, whole or what there is of it, and the candidates it was chosen from, itself among them.

    ``error`` is set when the engine failed after text had come, and the reply's reason is then ``error``. ``selector``
    is None where nothing was to be chosen; else ``why`` says what spoke for the choice, and ``saved`` candidates were
    not needed to their end. Log-probabilities are there when asked for. ``sampling`` is complete, with the seed used.
    """

    candidates: tuple[Candidate, ...]
    selected: int
    selector: str | None
    why: str
    saved: int
    usage: Usage
    timings: Timings | None
    sampling: SamplingParams
    model: ModelFile
    info: ModelInfo
    context_used: int
    error: LmlabError | None = None

    @property
    def best(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.index == self.selected)

    @property
    def text(self) -> str:
        return self.best.text

    @property
    def reason(self) -> FinishReason:
        return self.best.reason


class Generation:
    """One reply, from the model's reference to the last token. Run once; every backend is closed at the end, always."""

    def __init__(
        self,
        ask: Ask,
        *,
        ref: str | None,
        paths: Paths,
        config: Config,
        opener: Callable[[LoadSpec, StatusSink], Backend],
        listener: Callable[[GenerateEvent], None],
        sampling: SamplingParams | None = None,
        load: LoadSpec | None = None,
        logprobs: bool = False,
        offline: bool = False,
    ) -> None:
        self._ask = ask
        self._ref = ref
        self._paths = paths
        self._config = config
        self._opener = opener
        self._listener = listener
        self._sampling = sampling or SamplingParams()
        self._load = load or LoadSpec(path="")
        self._logprobs = logprobs
        self._offline = offline
        self._cancelled = False
        self._inbox: queue.SimpleQueue[Status | Event | _Chosen | None] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Stop as soon as can be. May be called from any thread and from a signal handler."""
        self._cancelled = True
        self._inbox.put(None)

    def run(self) -> GenerateResult | None:
        """Return the reply; None when it was cancelled before it began. The listener is called on this thread.

        Raises LmlabError when there is no reply, and whatever the listener raises.
        """
        ask = self._ask
        try:
            model = self._resolve(self._ref)
            load = with_draft(self._load, self._resolve)
        except LmlabError:
            if self._cancelled:
                return None
            raise
        put = ask.task.put(ask.values, model.header.chat_template is not None, self._config.system)
        self._listener(Opened(model, put.prompt))
        # Room for every candidate, and no more: a judge asks when they are done.
        load = replace(load, path=str(model.path), sequences=ask.candidates)
        backend = self._opener(load, self._inbox.put)
        models = SelectorModels(load, resolve=self._resolve, opener=self._opener)
        try:
            request = Request(
                "run",
                put.prompt,
                put.sampling(self._asked()),
                self._logprobs or ask.candidates > 1,
                candidates=ask.candidates,
                constraint=ask.task.constraint,
                # Nobody reads candidates as they grow: which is the reply is known at the end.
                stream=ask.candidates == 1,
            )
            handle = backend.generate(request, self._inbox.put)
            with self._selector(backend, models) as selector:
                gathered = self._gather(model, handle, put, selector)
                return None if gathered is None else self._result(model, put, gathered, selector)
        finally:
            models.close()
            backend.close()

    def _asked(self) -> SamplingParams:
        renderer = self._ask.task.renderer
        asked = self._sampling if renderer is None else self._sampling.merge(renderer.template.sampling)
        return asked.merge(self._config.sampling)

    def _resolve(self, ref: str | None) -> ModelFile:
        return resolve(
            ref,
            paths=self._paths,
            config=self._config,
            offline=self._offline,
            progress=self._listener,
            cancelled=lambda: self._cancelled,
        )

    def _remember(self, model: ModelFile) -> None:
        try:
            remember(model, self._paths)
        except StoreError as error:
            self._listener(NotRemembered(error))

    def _next(self) -> Status | Event | _Chosen | None:
        while True:
            try:
                return self._inbox.get(timeout=_WAIT_S)
            except queue.Empty:
                continue

    @contextmanager
    def _selector(self, backend: Backend, models: SelectorModels) -> Iterator[Selector | None]:
        if self._ask.selector is None:
            yield None
            return
        selector = open_selector(
            self._ask.selector, own=backend, open_model=models.open, template_folder=self._paths.prompts
        )
        try:
            yield selector
        finally:
            selector.close()

    def _gather(self, model: ModelFile, handle: Handle, put: Put, selector: Selector | None) -> _Gathered | None:
        """Return the candidates once all have ended; None when it was cancelled before there was anything."""
        gather = Gather(self._ask.candidates, put.question.read_answer)
        info: ModelInfo | None = None
        tokens: list[int] = []
        while True:
            item = self._next()
            if item is None:
                # A model that is still loading is not waited for.
                if info is None:
                    return None
                handle.cancel()
                continue
            if isinstance(item, _Chosen):
                continue
            self._listener(item)
            match item:
                case Ready():
                    info = item.info
                    self._remember(model)
                case Token():
                    tokens.append(item.id)
            if isinstance(item, Ready | Loading | Stopped):
                continue
            gather.fold(item)
            match item:
                case CandidateEnded():
                    for index in gather.needless(selector):
                        handle.cancel(index)
                case Finished() if gather.started is None:
                    return None
                case Failed(error=error) if gather.started is None or not tokens:
                    raise error
                case Finished() | Failed():
                    if info is None:
                        raise EngineStopped("the engine answered without having loaded a model")
                    return _Gathered(gather, info, tuple(tokens))

    def _result(self, model: ModelFile, put: Put, gathered: _Gathered, selector: Selector | None) -> GenerateResult:
        gather = gathered.gather
        started, end, error = gather.started, gather.finished, gather.failed
        if started is None:
            raise EngineStopped("the engine answered a request that it had not begun")
        if error is not None:
            choice = Choice(0, "", "", (gathered.broken(),))
        elif selector is None or all(candidate.reason == "cancelled" for candidate in gather.ended):
            choice = Choice(0, "", "", gather.ended)
        else:
            choice = self._choose(selector, put, gather.ended)
        return GenerateResult(
            candidates=choice.candidates,
            selected=choice.selected,
            selector=choice.selector or None,
            why=choice.why,
            saved=choice.saved,
            usage=end.usage if end else Usage(started.prompt_tokens, started.cached_tokens, len(gathered.tokens)),
            timings=end.timings if end else None,
            sampling=started.sampling,
            model=model,
            info=gathered.info,
            context_used=end.context_used if end else started.prompt_tokens + len(gathered.tokens),
            error=error,
        )

    def _choose(self, selector: Selector, put: Put, candidates: tuple[Candidate, ...]) -> Choice:
        if not selector.blocking:
            return selector.choose(put.question, candidates)
        self._listener(Choosing(selector.name))

        def choose() -> None:
            try:
                self._inbox.put(_Chosen(selector.choose(put.question, candidates)))
            except LmlabError as error:
                self._inbox.put(_Chosen(error))

        threading.Thread(target=choose, name="lmlab-select", daemon=True).start()
        while True:
            item = self._next()
            if item is None:
                # What was drawn is kept, though nobody chose.
                best = likeliest(contenders(candidates))
                return Choice(best.index, selector.name, "stopped before the choice: the most probable", candidates)
            if isinstance(item, _Chosen):
                if isinstance(item.choice, LmlabError):
                    raise item.choice
                return item.choice


@dataclass(frozen=True, slots=True)
class _Chosen:
    choice: Choice | LmlabError


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What a request has come to; ``tokens`` are those of a single candidate."""

    gather: Gather
    info: ModelInfo
    tokens: tuple[int, ...]

    def broken(self) -> Candidate:
        """Return as much as there is of a reply that failed."""
        return Candidate(0, self.gather.text(0), "error", self.tokens, None)
