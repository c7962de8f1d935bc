"""The worker's loop. Three threads: one reads commands, one encodes prompts, the main one loads and then steps the engine.

When the connection ends, so does the process: a parent that is gone, however it went, leaves no worker behind.
"""

from __future__ import annotations

import functools
import gc
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from lmlab.engine import Drawn, EngineEvent, EngineRequest, Inspected
from lmlab.errors import LmlabError, ModelLoadError, UsageError
from lmlab.llama import Grammar
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.constraint import compile_constraint
from lmlab.worker.inspection import Inspections
from lmlab.worker.loading import Loaded
from lmlab.worker.looks import Inspect, Reweigh
from lmlab.worker.messages import (
    Cancel,
    Event,
    Events,
    Failed,
    Finished,
    Generate,
    Load,
    LoadFailed,
    Loading,
    LoadSpec,
    Question,
    Ready,
    Report,
    Request,
    Timings,
    Token,
    Update,
    Usage,
)
from lmlab.worker.prefixes import Prefixes
from lmlab.worker.questions import Encode, Rank
from lmlab.worker.ranking import LoadedRanker, Ranking, encoded
from lmlab.worker.streams import Replies

TOGETHER_S = 0.04
"""Tokens drawn within this time are said together: as often as a film shows a picture."""

KEPT_PIECES = 8192
"""Tokens whose bytes are remembered: asking llama.cpp for them costs more than a dictionary."""

Loader = Callable[[LoadSpec, Callable[[float], None]], Loaded | LoadedRanker]


class Worker:
    """Serves one parent over ``connection`` with the model that its first command names."""

    def __init__(self, connection: Connection, load: Loader) -> None:
        self._connection = connection
        self._load = load
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._prompts: queue.SimpleQueue[tuple[Generate | Question | Inspected, float]] = queue.SimpleQueue()
        # Requests that the engine does not know yet, and what was said of them meanwhile. Under a lock, so that what
        # is repeated to the engine does not overtake what is said next.
        self._handing_over = threading.Lock()
        self._encoding: dict[str, list[Cancel | Update]] = {}
        # Engine events whose text nobody waits for yet, and what is ready to be said.
        self._unread: list[EngineEvent] = []
        self._held: list[Event] = []
        self._said_at = 0.0
        self._serving: Serving | None = None

    def run(self) -> None:
        """Load, then serve until the connection ends."""
        command = self._connection.recv()
        if not isinstance(command, Load):
            raise TypeError(f"the first command must be Load, not {command!r}")
        threading.Thread(target=self._read, daemon=True, name="reader").start()
        try:
            loaded = self._load(command.spec, self._report_loading)
        except ModelLoadError as error:
            self._send(LoadFailed(error))
            return
        # What has been loaded stays: the collector need not look through it between two tokens.
        gc.collect()
        gc.freeze()
        if isinstance(loaded, LoadedRanker):
            self._rank(loaded)
        else:
            self._serve(loaded)

    def _rank(self, loaded: LoadedRanker) -> None:
        """Answer one question after another."""
        ranking = Ranking(loaded)
        self._send(Ready(loaded.info))
        while True:
            command, _ = self._prompts.get()
            assert not isinstance(command, Inspected)
            self._say([ranking.answer(command)])
            if isinstance(command, Generate):
                with self._handing_over:
                    del self._encoding[command.request.id]

    def _serve(self, loaded: Loaded) -> None:
        """Encode prompts in one thread and step the engine in this one."""
        serving = self._serving = Serving(loaded)
        threading.Thread(target=self._encode, args=(serving,), daemon=True, name="encoder").start()
        self._send(Ready(loaded.info))
        while True:
            self._wake.wait()
            self._wake.clear()
            while loaded.engine.busy:
                self._take(loaded.engine.step(), serving)

    def flush(self) -> None:
        """Write what is still to be written to disk, within moments. Any thread may call this."""
        if self._serving is not None:
            self._serving.prefixes.flush()

    def _read(self) -> None:
        try:
            while True:
                command = self._connection.recv()
                match command:
                    case Generate(request):
                        self._encoding[request.id] = []
                        self._prompts.put((command, time.perf_counter()))
                    case Inspect() | Reweigh() | Encode() | Rank():
                        self._prompts.put((command, time.perf_counter()))
                    case Cancel() | Update():
                        with self._handing_over:
                            if command.request_id in self._encoding:
                                self._encoding[command.request_id].append(command)
                            elif self._serving is not None:
                                self._serving.obey(command)
                    case _:
                        raise TypeError(f"unknown command {command!r}")
        except (EOFError, OSError):
            self.flush()
            # Not sys.exit: the main thread may be inside llama.cpp for seconds, and nothing else needs saving.
            os._exit(0)

    def _encode(self, serving: Serving) -> None:
        while True:
            command, received = self._prompts.get()
            match command:
                case Generate(request):
                    self._hand_over(request, received, serving)
                case Inspected():
                    self._say(serving.inspections.answer(command))
                case _:
                    self._say(serving.answer(command, received))
            self._wake.set()

    def _hand_over(self, request: Request, received: float, serving: Serving) -> None:
        ready: EngineRequest | None = None
        refusal: LmlabError | None = None
        if not _cancelled(self._encoding[request.id]):
            try:
                ready = serving.prepare(request, received)
            except LmlabError as error:
                refusal = error
        with self._handing_over:
            meanwhile = self._encoding.pop(request.id)
            cancelled = _cancelled(meanwhile)
            if not cancelled and ready is not None:
                serving.submit(request, ready)
                for said in meanwhile:
                    serving.obey(said)
        if cancelled:
            self._say([_never_ran(request.id, received)])
        elif refusal is not None:
            self._say([Failed(request.id, refusal)])

    def _report_loading(self, fraction: float) -> None:
        self._send(Loading(fraction))

    def _take(self, events: list[EngineEvent], serving: Serving) -> None:
        """Take in what a step had to say: drawn tokens together with those that follow within moments.

        Between two decodes every line of Python runs on cold caches, and each message wakes the parent, on a core that
        a thread of the decode wants: a few tokens at once cost little more than one. Whatever is not a token, and the
        first token of a candidate, goes at once; a reply ends with such an event. Text that could end its reply is
        read at once, and said later.
        """
        now = time.perf_counter()
        for event in events:
            if isinstance(event, Inspected):
                # Weighing a large vocabulary takes longer than a step: whoever decodes must not wait for it.
                self._prompts.put((event, now))
            else:
                self._unread.append(event)
        urgent = any(not isinstance(event, Drawn) or event.index == 0 for event in events)
        due = urgent or now - self._said_at >= TOGETHER_S
        if due or serving.replies.watching:
            unread, self._unread = self._unread, []
            said = serving.translate(unread)
            # A text that ends its reply does so here, unknown to the engine.
            due = due or any(not isinstance(event, Token) for event in said)
            self._held += said
        if due:
            self._said_at = now
            held, self._held = self._held, []
            self._say(held)

    def _say(self, events: list[Event]) -> None:
        if events:
            self._send(Events(tuple(events)))

    def _send(self, report: Report) -> None:
        with self._sending:
            try:
                self._connection.send(report)
            except OSError:
                # The parent is gone.
                os._exit(0)


class Serving:
    """A loaded model at work: requests made ready for the engine, and what the engine says made ready for the parent."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._engine = loaded.engine
        vocabulary = loaded.model.vocabulary
        self.replies = Replies(loaded.engine, functools.lru_cache(KEPT_PIECES)(vocabulary.piece))
        self.inspections = Inspections(vocabulary)
        self.prefixes = Prefixes(loaded.snapshots, loaded.snapshot_key)

    def prepare(self, request: Request, received: float) -> EngineRequest:
        """Encode a request. Raises LmlabError for what is wrong with it."""
        loaded = self._loaded
        if request.candidates < 1:
            raise UsageError(f"{request.candidates} candidates: ask for 1 or more")
        grammar = None
        if request.constraint is not None:
            grammar = Grammar(loaded.model.vocabulary, compile_constraint(request.constraint))
        scales = loaded.scales(request.lora)
        tokens = tuple(loaded.encoder.encode(request.prompt))
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
        )

    def submit(self, request: Request, ready: EngineRequest) -> None:
        self.replies.add(ready.id, len(ready.tokens), ready.sampling, ready.candidates, streamed=request.stream)
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
        """Return what is to be said to a question now; an Inspect is answered by a later event of the engine."""
        try:
            match command:
                case Inspect():
                    self._inspect(command, received)
                    return []
                case Reweigh():
                    return [self.inspections.reweigh(command, self._resolve(command.sampling, 0))]
                case Encode():
                    return [encoded(command, self._loaded.encoder)]
                case Rank():
                    raise UsageError(
                        "this model was loaded to generate and cannot score answers: use a reward model or reranker"
                    )
        except LmlabError as error:
            return [Failed(command.request_id, error)]

    def _inspect(self, command: Inspect, received: float) -> None:
        """Ask the engine for the logits at one place. Raises LmlabError for what is wrong with the prompt."""
        size = self._loaded.model.vocabulary.size
        if command.top < 1 or (command.drawn is not None and not 0 <= command.drawn < size):
            raise UsageError(f"ask for 1 token or more, and for one of the {size:,} that the model has")
        tokens = (*self._loaded.encoder.encode(command.prompt), *command.tokens)
        sampling = self._resolve(command.sampling, 0)
        self.inspections.add(command, tokens, sampling)
        scales = self._loaded.scales(None)
        self._engine.submit(
            EngineRequest(command.request_id, tokens, sampling, False, received, scales=scales, inspect=True)
        )

    def translate(self, events: list[EngineEvent]) -> list[Event]:
        """Return what to tell the parent of ``events``."""
        said: list[Event] = []
        for event in events:
            if event.request_id in self.inspections:
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


def _cancelled(commands: list[Cancel | Update]) -> bool:
    return any(isinstance(command, Cancel) and command.candidate is None for command in commands)


def _never_ran(request_id: str, received: float) -> Finished:
    total = time.perf_counter() - received
    return Finished(request_id, "cancelled", "", (), Usage(0, 0, 0), Timings(None, None, None, total), 0)
