"""Replies of the fake backend: what each is to say, and one under way. Knows nothing of loading."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from lmlab.backends.base import EventSink
from lmlab.errors import LmlabError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.messages import (
    Applied,
    CandidateEnded,
    Failed,
    Finished,
    FinishReason,
    Prefill,
    Request,
    Started,
    Timings,
    Token,
    Usage,
)

if TYPE_CHECKING:
    from lmlab.backends.fake import FakeBackend

Pieces: TypeAlias = Iterable[str] | Callable[[Request], Iterable[str]]

FAKE_SEED = 1234
FAKE_TIMINGS = Timings(ttft_s=0.1, prefill_tokens_per_s=300.0, decode_tokens_per_s=100.0, total_s=0.5)


def words(text: str) -> list[str]:
    """Return the words of ``text`` with the white space around them; joined they are ``text``."""
    return re.findall(r"\s*\S+(?:\s+$)?", text)


@dataclass(frozen=True, slots=True)
class FakeCandidate:
    """One continuation to come: its pieces, one a token (of a plain string its words), and how it ends.

    ``logprobs`` are its tokens' when asked for; the others have ``logprob``, or -1.
    """

    pieces: Pieces = ("A", " fake", " reply", ".")
    reason: FinishReason = "stop"
    tail: str = ""
    logprob: float | None = None
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """One reply to come: its candidates, and an ``error`` in place of its Finished.

    One candidate is what every candidate of the request says; else there must be as many as are asked for.
    """

    candidates: tuple[FakeCandidate, ...] = (FakeCandidate(),)
    prompt_tokens: int = 10
    cached: int = 0
    error: LmlabError | None = None

    def of(self, request: Request) -> tuple[FakeCandidate, ...]:
        if len(self.candidates) == 1:
            return self.candidates * request.candidates
        assert len(self.candidates) == request.candidates, (
            f"{len(self.candidates)} candidates are scripted and {request.candidates} are asked for"
        )
        return self.candidates


@dataclass(slots=True, eq=False)
class _Voice:
    """One candidate under way. Token ids count up from ``first``, those of ``reply`` with them, so that each token of a
    request can be told apart."""

    script: FakeCandidate
    first: int
    pieces: deque[str]
    reply: tuple[int, ...] = ()
    said: list[str] = field(default_factory=list)
    ended: CandidateEnded | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        return (*self.reply, *(self.first + index for index in range(len(self.reply), self.length)))

    @property
    def length(self) -> int:
        return len(self.reply) + len(self.said)


@dataclass(slots=True, eq=False)
class FakeHandle:
    """One request under way. The tokens of candidate k are 100 * (k + 1) and on."""

    backend: FakeBackend
    request: Request
    sink: EventSink
    script: Script
    voices: list[_Voice] = field(default_factory=list)
    sampling: SamplingParams = DEFAULTS
    wanted: SamplingParams | None = None
    started: bool = False
    ended: bool = False

    @property
    def prompt_tokens(self) -> int:
        return self.script.prompt_tokens + len(self.request.reply)

    def update(self, sampling: SamplingParams) -> None:
        self.backend.updates.append((self.request.id, sampling))
        self.wanted = sampling

    def cancel(self, candidate: int | None = None) -> None:
        if candidate is None:
            self.backend.cancels.append(self.request.id)
        else:
            self.backend.candidate_cancels.append((self.request.id, candidate))
        if self.ended:
            return
        if not self.started:
            self._prepare()
        for number in range(len(self.voices)) if candidate is None else [candidate]:
            self._end(number, "cancelled")

    def start(self) -> None:
        """Say Started and the whole Prefill."""
        self.started = True
        self._prepare()
        self.sampling = self._resolve(self.request.sampling)
        script, name = self.script, self.request.id
        begun = "".join(map(self.backend.spell, self.request.reply))
        self.sink(Started(name, self.prompt_tokens, script.cached, self.sampling, text=begun))
        if self.request.stream:
            self.sink(Prefill(name, self.prompt_tokens, self.prompt_tokens))

    def step(self) -> None:
        """Do what one step of an engine does: the start, else a token or the end of each candidate that goes on."""
        if not self.started:
            if self.script.error is not None and not self._has_pieces():
                self.fail(self.script.error)
            else:
                self.start()
            return
        if self.wanted is not None:
            self._apply(self.wanted)
        for number, voice in enumerate(self.voices):
            if not voice.ended and not self.ended:
                self._advance(number, voice)

    def fail(self, error: LmlabError) -> None:
        if not self.ended:
            self.ended = True
            self.sink(Failed(self.request.id, error))

    def _prepare(self) -> None:
        if not self.voices:
            self.voices = [
                _Voice(
                    candidate, 100 * (number + 1), deque(_pieces(candidate.pieces, self.request)), self.request.reply
                )
                for number, candidate in enumerate(self.script.of(self.request))
            ]

    def _advance(self, number: int, voice: _Voice) -> None:
        if not voice.pieces:
            if self.script.error is not None:
                self.fail(self.script.error)
            else:
                self._end(number, voice.script.reason, voice.script.tail)
            return
        index, text = voice.length, voice.pieces.popleft()
        voice.said.append(text)
        token = voice.tokens[-1]
        self.backend.texts[token] = text
        if self.request.stream:
            self.sink(Token(self.request.id, index, token, text, self._logprob(voice), candidate=number))

    def _logprob(self, voice: _Voice) -> float | None:
        """Return the log-probability of the last token said, if it is asked for."""
        if not self.request.logprobs:
            return None
        script, place = voice.script, len(voice.said) - 1
        if place < len(script.logprobs):
            return script.logprobs[place]
        return -1.0 if script.logprob is None else script.logprob

    def _end(self, number: int, reason: FinishReason, tail: str = "") -> None:
        """End one candidate, and with the last one the request."""
        voice = self.voices[number]
        if voice.ended or self.ended:
            return
        if not self.request.stream:
            tail = "".join(voice.said) + tail
        tokens = voice.tokens if self.started else ()
        voice.ended = CandidateEnded(self.request.id, number, reason, tail, tokens, voice.script.logprob)
        several = len(self.voices) > 1
        if several:
            self.sink(voice.ended)
        if not self.ended and all(voice.ended for voice in self.voices):
            self.ended = True
            self._finish("" if several else tail)

    def _finish(self, tail: str) -> None:
        first = self.voices[0].ended
        assert first is not None
        prompt, cached = (self.prompt_tokens, self.script.cached) if self.started else (0, 0)
        usage = Usage(prompt, cached, sum(len(voice.said) for voice in self.voices))
        used = prompt + len(self.voices[0].said)
        self.sink(Finished(self.request.id, first.reason, tail, first.tokens, usage, FAKE_TIMINGS, used, first.logprob))

    def _apply(self, wanted: SamplingParams) -> None:
        self.wanted = None
        before, self.sampling = self.sampling, self._resolve(wanted)
        if changes := before.changes(self.sampling):
            at = max(voice.length for voice in self.voices)
            self.sink(Applied(self.request.id, at, self.sampling, changes))

    def _resolve(self, asked: SamplingParams) -> SamplingParams:
        seed = asked.seed if asked.seed is not None and asked.seed >= 0 else FAKE_SEED
        return replace(asked, seed=seed).merge(self.backend.info.recommended).merge(DEFAULTS)

    def _has_pieces(self) -> bool:
        return any(callable(candidate.pieces) or bool(candidate.pieces) for candidate in self.script.candidates)


def _pieces(pieces: Pieces, request: Request) -> Iterable[str]:
    found = pieces(request) if callable(pieces) else pieces
    return words(found) if isinstance(found, str) else found
