"""What the screen shows, as plain values: events go in, in order, and widgets read. Knows nothing of Textual.

Times come from the ``clock`` given, so that a test can hold it still.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from lmlab.backends import (
    Applied,
    CandidateEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Loading,
    ModelInfo,
    Prefill,
    Ready,
    Started,
    Stopped,
    Token,
)
from lmlab.errors import LmlabError
from lmlab.lab.candidate_words import standing
from lmlab.lab.events import (
    BranchRefused,
    ChatEvent,
    Choosing,
    Chosen,
    Drawing,
    Fetching,
    ModelFailed,
    Notice,
    SaveFailed,
    SelectorFailed,
)
from lmlab.models import Progress
from lmlab.sampling import SamplingParams
from lmlab.store import Change

Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True)
class NoModel:
    """Nothing is open. ``error`` says what was tried and why it failed; None: it is only being looked for."""

    error: LmlabError | None = None


@dataclass(frozen=True, slots=True)
class FetchingModel:
    progress: Progress
    bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class LoadingModel:
    fraction: float


@dataclass(frozen=True, slots=True)
class ModelReady:
    info: ModelInfo


@dataclass(frozen=True, slots=True)
class EngineGone:
    """The engine ended; the next message starts it again."""

    error: LmlabError


ModelState: TypeAlias = NoModel | FetchingModel | LoadingModel | ModelReady | EngineGone


@dataclass(frozen=True, slots=True)
class Said:
    """A line for the transcript that nobody of the conversation said."""

    text: str
    error: bool = False


_RATE_AFTER_S = 1.0


@dataclass(slots=True)
class LiveText:
    """A text under way: the reply's, or one candidate's. ``reason`` is why it ended, ``logprob`` the mean of its tokens'.

    ``pieces`` only grow: whoever shows them keeps a place of his own.
    """

    pieces: list[str] = field(default_factory=list)
    tokens: int = 0
    reason: FinishReason | None = None
    logprob: float | None = None

    def since(self, place: int) -> tuple[str, int]:
        """Return the text that has come since ``place`` (0 is the beginning), and the place after it."""
        return "".join(self.pieces[place:]), len(self.pieces)


@dataclass(slots=True)
class LiveReply:
    """The reply under way. Times are the clock's; ``begun`` is when the engine had it.

    ``texts`` has one for each candidate; tokens are counted of all until one is ``chosen``, which is the one shown.
    ``standing`` says why, ``selector`` what is choosing. ``answer`` is what was read off the reply, once it has ended.
    """

    begun: float
    request_id: str | None = None
    started: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prefilled: int = 0
    tokens: int = 0
    first_token: float | None = None
    last_token: float | None = None
    sampling: SamplingParams | None = None
    changes: list[Change] = field(default_factory=list)
    texts: list[LiveText] = field(default_factory=lambda: [LiveText()])
    finished: Finished | None = None
    error: LmlabError | None = None
    selector: str | None = None
    chosen: int = 0
    standing: str = ""
    answer: str = ""

    @property
    def candidates(self) -> int:
        return len(self.texts)

    @property
    def candidates_ended(self) -> int:
        return sum(text.reason is not None for text in self.texts)

    @property
    def shown(self) -> LiveText:
        """The text of the reply: of several candidates the chosen one's, the first's until then."""
        return self.texts[self.chosen]

    @property
    def ended(self) -> bool:
        return self.finished is not None or self.error is not None

    @property
    def reading(self) -> bool:
        """The prompt is being read: no token has come."""
        return self.started is not None and self.first_token is None and not self.ended

    @property
    def tokens_per_s(self) -> float | None:
        if self.finished is not None:
            return self.finished.timings.decode_tokens_per_s
        if self.first_token is None or self.last_token is None or self.last_token <= self.first_token:
            return None
        return (self.tokens - 1) / (self.last_token - self.first_token)

    @property
    def ttft_s(self) -> float | None:
        if self.finished is not None:
            return self.finished.timings.ttft_s
        return None if self.first_token is None else self.first_token - self.begun

    def prefill_rate(self, now: float) -> float | None:
        """Prompt tokens decoded a second so far; None before there is anything to measure."""
        decoded = self.prefilled - self.cached_tokens
        if self.started is None or decoded <= 0 or now <= self.started:
            return None
        return decoded / (now - self.started)


class ScreenState:
    """``model``, ``reply`` and ``context_used`` now; ``said`` waits to be taken."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.model: ModelState = NoModel()
        self.reply: LiveReply | None = None
        self.context_used = 0
        self._said: list[Said] = []
        self._before: str | None = None
        self._unsaved = ""
        self._chosen = False
        self._fetch_began: tuple[str, float, int] | None = None

    @property
    def replying(self) -> bool:
        return self.reply is not None and not self.reply.ended

    def begin_reply(self) -> LiveReply:
        """A message is sent: what arrives next belongs to its reply, unless it is late news of the one before."""
        if self.reply is not None:
            self._before = self.reply.request_id
        self._unsaved = ""
        self.reply = LiveReply(begun=self.clock())
        return self.reply

    def forget_reply(self) -> None:
        """The conversation on screen is another one; what still arrives of the old reply is dropped."""
        if self.reply is not None:
            self._before = self.reply.request_id
        self.reply = None
        self.context_used = 0

    def take_said(self) -> list[Said]:
        said, self._said = self._said, []
        return said

    def take_chosen(self) -> bool:
        """Return whether the last turn may be another since the last call: a candidate was chosen, a branch refused."""
        chosen, self._chosen = self._chosen, False
        return chosen

    def fold(self, event: ChatEvent) -> None:
        """Take in the next event."""
        match event:
            case Fetching(progress):
                self.model = FetchingModel(progress, self._fetch_rate(progress))
            case Loading(fraction):
                self.model = LoadingModel(fraction)
            case Ready(info):
                self.model = ModelReady(info)
                if self.reply is not None and self.reply.started is None:
                    # Until now it waited for the model, which is no time of its own.
                    self.reply.begun = self.clock()
            case Stopped(error):
                self.model = EngineGone(error)
            case ModelFailed(error):
                if not isinstance(self.model, ModelReady):
                    self.model = NoModel(error)
                self._said.append(Said(str(error), error=True))
            case BranchRefused(request_id, error):
                self._said.append(Said(str(error), error=True))
                if self.reply is not None and self.reply.request_id in (None, request_id):
                    self.forget_reply()
                    self._before = request_id
                    self._chosen = True
            case SelectorFailed(error):
                self._said.append(Said(str(error), error=True))
            case Notice(text):
                self._said.append(Said(text))
            case SaveFailed(error):
                # Told while a reply grows and again at its end.
                if str(error) != self._unsaved:
                    self._unsaved = str(error)
                    self._said.append(Said(str(error), error=True))
            case _:
                if self.reply is not None and not self.reply.ended:
                    self._fold_reply(self.reply, event)

    def _fold_reply(self, reply: LiveReply, event: Event | Drawing | Choosing | Chosen) -> None:
        if reply.request_id is None and event.request_id != self._before:
            reply.request_id = event.request_id
        if event.request_id != reply.request_id:
            return
        now = self.clock()
        match event:
            case Started():
                reply.started = now
                reply.prompt_tokens, reply.cached_tokens = event.prompt_tokens, event.cached_tokens
                reply.prefilled = event.cached_tokens
                reply.sampling = event.sampling
                reply.shown.pieces.append(event.text)
            case Prefill():
                reply.prefilled = event.done
            case Token():
                reply.tokens += 1
                reply.first_token = now if reply.first_token is None else reply.first_token
                reply.last_token = now
                text = reply.texts[event.candidate]
                text.tokens += 1
                text.pieces.append(event.text)
            case Drawing():
                reply.texts = [LiveText() for _ in range(event.candidates)]
            case CandidateEnded():
                text = reply.texts[event.candidate]
                text.pieces.append(event.tail)
                text.tokens = len(event.tokens)
                text.reason, text.logprob = event.reason, event.logprob
            case Choosing():
                reply.selector = event.selector
            case Chosen():
                self._chosen = True
                record = event.turn.reply
                if record is not None and record.candidate is not None:
                    reply.chosen, reply.standing = record.candidate.index, standing(record)
            case Applied():
                reply.sampling = event.sampling
                reply.changes += [(event.at_token, *change) for change in event.changes]
            case Finished():
                reply.finished = event
                reply.shown.pieces.append(event.tail)
                # Of several, one is the reply.
                reply.tokens = event.usage.completion_tokens if reply.candidates == 1 else len(event.tokens)
            case Failed():
                reply.error = event.error
        if reply.started is not None:
            self.context_used = reply.prompt_tokens + reply.tokens
        if reply.finished is not None and reply.finished.context_used:
            self.context_used = reply.finished.context_used

    def _fetch_rate(self, progress: Progress) -> float | None:
        """Bytes a second since this label was first seen."""
        now = self.clock()
        if self._fetch_began is None or self._fetch_began[0] != progress.label or progress.done < self._fetch_began[2]:
            self._fetch_began = (progress.label, now, progress.done)
        _, began, first = self._fetch_began
        # The first moments are of connecting: a rate from them would promise hours.
        if now - began < _RATE_AFTER_S or progress.done <= max(first, (progress.total or 0) // 100):
            return None
        return (progress.done - first) / (now - began)
