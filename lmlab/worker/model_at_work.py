"""A loaded model at work: requests made ready for the engine, and what the engine says made ready for the parent.

Knows nothing of connections or threads, but that commands come on another thread than events.
"""

from __future__ import annotations

import functools
import secrets
from dataclasses import replace

from lmlab.engine import EngineEvent, EngineRequest, Peeked
from lmlab.errors import LmlabError, UsageError
from lmlab.llama import Grammar
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.constraint import compile_constraint
from lmlab.worker.inspection import Inspections
from lmlab.worker.loading import Loaded
from lmlab.worker.looks import Inspect, Reweigh
from lmlab.worker.messages import Cancel, Constraint, Event, Failed, Question, Request, Update
from lmlab.worker.prefixes import Prefixes
from lmlab.worker.questions import Encode, Encoded, Rank, Spell
from lmlab.worker.ranking import encoded
from lmlab.worker.reply_beginning import check_beginning, take_in
from lmlab.worker.spelling import require_known, spelled
from lmlab.worker.streams import Replies

KEPT_PIECES = 8192
"""Tokens whose bytes are remembered: asking llama.cpp for them costs more than a dictionary."""


class ModelAtWork:
    """A loaded model at work: requests made ready for the engine, and what the engine says made ready for the parent."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._engine = loaded.engine
        self._vocabulary = loaded.model.vocabulary
        self._encoded: dict[str, Encoded] = {}
        self.replies = Replies(self._finish, functools.lru_cache(KEPT_PIECES)(self._vocabulary.piece))
        self.inspections = Inspections(self._vocabulary)
        self.prefixes = Prefixes(loaded.snapshots, loaded.snapshot_key)

    def prepare(self, request: Request, received: float) -> EngineRequest:
        """Encode a request. Raises LmlabError for what is wrong with it."""
        loaded = self._loaded
        if request.candidates < 1:
            raise UsageError(f"{request.candidates} candidates: ask for 1 or more")
        check_beginning(request.reply, self._vocabulary)
        scales = loaded.scales(request.lora)
        tokens = (*loaded.encoder.encode(request.prompt), *request.reply)
        grammar = None if request.constraint is None else self._grammar(request.constraint, request.reply)
        return EngineRequest(
            id=request.id,
            tokens=tokens,
            sampling=self._resolve(request.sampling, None),
            logprobs=request.logprobs or request.candidates > 1,
            received=received,
            candidates=request.candidates,
            grammar=grammar,
            scales=scales,
            restorable=self.prefixes.find(tokens, scales),
            save=self.prefixes.wanted(request.session, len(tokens)),
            watched=request.stream,
            replied=len(request.reply),
        )

    def _grammar(self, constraint: Constraint, reply: tuple[int, ...]) -> Grammar:
        """Return what holds a reply to ``constraint`` from behind its first tokens on. Raises UsageError."""
        grammar = Grammar(self._vocabulary, compile_constraint(constraint))
        try:
            take_in(grammar, reply, self._vocabulary)
        except LmlabError:
            grammar.close()
            raise
        return grammar

    def submit(self, request: Request, ready: EngineRequest) -> None:
        self.replies.add(
            ready.id,
            len(ready.tokens),
            ready.sampling,
            ready.candidates,
            streamed=request.stream,
            begun=request.reply,
        )
        self.prefixes.begin(ready, request.session)
        self._engine.submit(ready)

    def obey(self, command: Cancel | Update) -> None:
        """Pass on what was said of a request; of one that has ended there is nothing to say."""
        if isinstance(command, Cancel):
            self._engine.cancel(command.request_id, command.candidate)
            return
        in_force = self.replies.sampling(command.request_id)
        if in_force is not None:
            self._engine.update(command.request_id, self._resolve(command.sampling, in_force.seed))

    def answer(self, command: Question, received: float) -> list[Event]:
        """Return what is to be said to a question now; Inspect and Encode are answered by later events of the engine."""
        try:
            match command:
                case Inspect():
                    self._inspect(command, received)
                    return []
                case Reweigh():
                    return [self.inspections.reweigh(command, self._resolve(command.sampling, 0))]
                case Encode():
                    self._encode(command)
                    return []
                case Spell():
                    return [spelled(command, self._vocabulary)]
                case Rank():
                    raise UsageError(
                        "this model was loaded to generate and cannot score answers: use a reward model or reranker"
                    )
        except LmlabError as error:
            return [Failed(command.request_id, error)]

    def _inspect(self, command: Inspect, received: float) -> None:
        """Ask the engine for the logits at one place. Raises LmlabError for what is wrong with the prompt."""
        size = self._vocabulary.size
        if command.top < 1 or (command.drawn is not None and not 0 <= command.drawn < size):
            raise UsageError(f"ask for 1 token or more, and for one of the {size:,} that the model has")
        require_known(command.tokens, self._vocabulary)
        tokens = (*self._loaded.encoder.encode(command.prompt), *command.tokens)
        sampling = self._resolve(command.sampling, 0)
        self.inspections.add(command, tokens, sampling)
        scales = self._loaded.scales(None)
        self._engine.submit(
            EngineRequest(command.request_id, tokens, sampling, False, received, scales=scales, inspect=True)
        )

    def _encode(self, command: Encode) -> None:
        """Encode a prompt and ask the engine how much of it is cached. Raises LmlabError for what is wrong with it."""
        found = self._encoded[command.request_id] = encoded(command, self._loaded.encoder)
        self._engine.peek(command.request_id, found.tokens, self._loaded.scales(None))

    def _finish(self, request_id: str, candidate: int) -> list[EngineEvent]:
        return [event for event in self._engine.finish(request_id, candidate) if not self.prefixes.take(event)]

    def translate(self, events: list[EngineEvent]) -> list[Event]:
        """Return what to tell the parent of ``events``."""
        said: list[Event] = []
        for event in events:
            if isinstance(event, Peeked):
                said.append(replace(self._encoded.pop(event.request_id), cached=event.cached))
            elif event.request_id in self.inspections:
                said += self.inspections.answer(event)
            elif not self.prefixes.take(event):
                said += self.replies.translate([event])
        return said

    def _resolve(self, asked: SamplingParams, seed: int | None) -> SamplingParams:
        """Return ``asked`` made complete; with no seed asked for, ``seed``, or else a random one."""
        complete = asked.merge(self._loaded.info.recommended).merge(DEFAULTS)
        if complete.seed is None or complete.seed == -1:
            return complete.with_value("seed", secrets.randbits(31) if seed is None else seed)
        return complete
