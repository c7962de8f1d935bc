"""One reply with no screen and no session: a model reference and a text in, a result out.

Knows nothing of stdout or stderr: what happens is told to a listener, and whoever waits may cancel.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lmlab.backends import (
    Backend,
    ChatPrompt,
    Constraint,
    Event,
    Failed,
    Finished,
    FinishReason,
    Handle,
    LoadSpec,
    Message,
    ModelInfo,
    Prompt,
    Ready,
    Request,
    Started,
    Status,
    StatusSink,
    TextPrompt,
    Timings,
    Token,
    Usage,
)
from lmlab.errors import EngineStopped, LmlabError, StoreError, UsageError
from lmlab.lab.draft import with_draft
from lmlab.models import ModelFile, Progress, remember, resolve
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Ask:
    """What to answer. ``raw`` sends ``text`` without a chat template; a base model never has one.

    ``parse_special`` makes special tokens in a text without a template special; elsewhere they are plain text.
    ``constraint`` is what the reply must look like.
    """

    text: str
    system: str | None = None
    raw: bool = False
    parse_special: bool = False
    constraint: Constraint | None = None

    def prompt(self, chat_template: bool, default_system: str | None = None) -> Prompt:
        """Return the prompt for a model with or without a template. Raises UsageError for what it could only ignore."""
        if chat_template and not self.raw:
            if self.parse_special:
                raise UsageError("--parse-special needs --raw: in a chat, special tokens belong to the template alone")
            system = self.system if self.system is not None else default_system
            turns = (Message("system", system),) if system else ()
            return ChatPrompt((*turns, Message("user", self.text)))
        if self.system is not None:
            why = "--raw sends no turns" if self.raw else "this is a base model, its file has no chat template"
            raise UsageError(f"--system has no place here: {why}; put the instruction into the prompt")
        return TextPrompt(self.text, self.parse_special)


@dataclass(frozen=True, slots=True)
class Opened:
    """The model's file is on disk and its header was read; ``prompt`` is what will be sent to it."""

    model: ModelFile
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class NotRemembered:
    """The model could not be noted as the one used last; the reply goes on."""

    error: StoreError


GenerateEvent: TypeAlias = Progress | Opened | NotRemembered | Status | Event


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A reply, whole or what there is of it.

    ``error`` is set when the engine failed after text had come, and ``reason`` is then ``error``. ``logprob`` is the
    mean log-probability of its tokens, when asked for. ``sampling`` is complete, with the seed used.
    """

    text: str
    reason: FinishReason
    completion_tokens: int
    usage: Usage
    timings: Timings | None
    sampling: SamplingParams
    model: ModelFile
    info: ModelInfo
    context_used: int
    logprob: float | None = None
    error: LmlabError | None = None


@dataclass(slots=True)
class _Reply:
    """What has arrived so far."""

    info: ModelInfo | None = None
    started: Started | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    text: list[str] = field(default_factory=list)
    tokens: int = 0


class Generation:
    """One reply, from the model's reference to the last token. Run once; the backend is closed at the end, always."""

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
        self._inbox: queue.SimpleQueue[Status | Event | None] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Stop as soon as can be. May be called from any thread and from a signal handler."""
        self._cancelled = True
        self._inbox.put(None)

    def run(self) -> GenerateResult | None:
        """Return the reply; None when it was cancelled before it began. The listener is called on this thread.

        Raises LmlabError when there is no reply, and whatever the listener raises.
        """
        try:
            model = self._resolve(self._ref)
            load = with_draft(self._load, self._resolve)
        except LmlabError:
            if self._cancelled:
                return None
            raise
        prompt = self._ask.prompt(model.header.chat_template is not None, self._config.system)
        self._listener(Opened(model, prompt))
        # One request of one candidate needs one sequence.
        backend = self._opener(replace(load, path=str(model.path), sequences=1), self._inbox.put)
        try:
            request = Request(
                "run",
                prompt,
                self._sampling.merge(self._config.sampling),
                self._logprobs,
                constraint=self._ask.constraint,
            )
            return self._collect(model, backend.generate(request, self._inbox.put))
        finally:
            backend.close()

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

    def _collect(self, model: ModelFile, handle: Handle) -> GenerateResult | None:
        reply = _Reply()
        while True:
            try:
                item = self._inbox.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            if item is None:
                # A model that is still loading is not waited for.
                if reply.info is None:
                    return None
                handle.cancel()
                continue
            self._listener(item)
            match item:
                case Ready(info):
                    reply.info = info
                    self._remember(model)
                case Started():
                    reply.started = item
                    reply.sampling = item.sampling
                case Token():
                    reply.text.append(item.text)
                    reply.tokens += 1
                case Finished():
                    return _finished(reply, item, model)
                case Failed():
                    return _failed(reply, item.error, model)


def _finished(reply: _Reply, end: Finished, model: ModelFile) -> GenerateResult | None:
    if reply.started is None:
        return None
    if reply.info is None:
        raise EngineStopped("the engine answered without having loaded a model")
    return GenerateResult(
        text="".join(reply.text) + end.tail,
        reason=end.reason,
        completion_tokens=len(end.tokens),
        usage=end.usage,
        timings=end.timings,
        sampling=reply.sampling,
        model=model,
        info=reply.info,
        context_used=end.context_used,
        logprob=end.logprob,
    )


def _failed(reply: _Reply, error: LmlabError, model: ModelFile) -> GenerateResult:
    """Return what had arrived before ``error``; with nothing to keep, raise it."""
    if reply.started is None or reply.info is None or not reply.tokens:
        raise error
    prompt, cached = reply.started.prompt_tokens, reply.started.cached_tokens
    return GenerateResult(
        text="".join(reply.text),
        reason="error",
        completion_tokens=reply.tokens,
        usage=Usage(prompt, cached, reply.tokens),
        timings=None,
        sampling=reply.sampling,
        model=model,
        info=reply.info,
        context_used=prompt + reply.tokens,
        error=error,
    )
