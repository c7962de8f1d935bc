"""The worker's loop. Three threads: one reads commands, one encodes prompts, the main one loads and then steps the engine.

When the connection ends, so does the process: a parent that is gone, however it went, leaves no worker behind.
"""

from __future__ import annotations

import gc
import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from lmlab import memory
from lmlab.engine import Drawn, EngineEvent, EngineRequest, Inspected
from lmlab.errors import LmlabError, ModelLoadError
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
from lmlab.worker.model_at_work import ModelAtWork
from lmlab.worker.questions import Encode, Rank, Spell
from lmlab.worker.ranking import LoadedRanker, Ranking

TOGETHER_S = 0.04
"""Tokens drawn within this time are said together: as often as a film shows a picture."""

IDLE_S = 0.5
"""After so long without work, memory that is of no use is given back."""

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
        self._at_work: ModelAtWork | None = None

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
        at_work = self._at_work = ModelAtWork(loaded)
        threading.Thread(target=self._encode, args=(at_work,), daemon=True, name="encoder").start()
        self._send(Ready(loaded.info))
        worked = False
        while True:
            if not self._wake.wait(IDLE_S if worked else None):
                memory.give_back()
                worked = False
                continue
            self._wake.clear()
            while loaded.engine.busy:
                self._take(loaded.engine.step(), at_work)
            worked = True

    def flush(self) -> None:
        """Write what is still to be written to disk, within moments. Any thread may call this."""
        if self._at_work is not None:
            self._at_work.prefixes.flush()

    def _read(self) -> None:
        try:
            while True:
                command = self._connection.recv()
                match command:
                    case Generate(request):
                        self._encoding[request.id] = []
                        self._prompts.put((command, time.perf_counter()))
                    case Inspect() | Reweigh() | Encode() | Spell() | Rank():
                        self._prompts.put((command, time.perf_counter()))
                    case Cancel() | Update():
                        with self._handing_over:
                            if command.request_id in self._encoding:
                                self._encoding[command.request_id].append(command)
                            elif self._at_work is not None:
                                self._at_work.obey(command)
                    case _:
                        raise TypeError(f"unknown command {command!r}")
        except (EOFError, OSError):
            self.flush()
            # Not sys.exit: the main thread may be inside llama.cpp for seconds, and nothing else needs saving.
            os._exit(0)

    def _encode(self, at_work: ModelAtWork) -> None:
        while True:
            command, received = self._prompts.get()
            match command:
                case Generate(request):
                    self._hand_over(request, received, at_work)
                case Inspected():
                    self._say(at_work.inspections.answer(command))
                case _:
                    self._say(at_work.answer(command, received))
            self._wake.set()

    def _hand_over(self, request: Request, received: float, at_work: ModelAtWork) -> None:
        ready: EngineRequest | None = None
        refusal: LmlabError | None = None
        if not _cancelled(self._encoding[request.id]):
            try:
                ready = at_work.prepare(request, received)
            except LmlabError as error:
                refusal = error
        with self._handing_over:
            meanwhile = self._encoding.pop(request.id)
            cancelled = _cancelled(meanwhile)
            if not cancelled and ready is not None:
                at_work.submit(request, ready)
                for said in meanwhile:
                    at_work.obey(said)
        if cancelled:
            self._say([_never_ran(request.id, received)])
        elif refusal is not None:
            self._say([Failed(request.id, refusal)])

    def _report_loading(self, fraction: float) -> None:
        self._send(Loading(fraction))

    def _take(self, events: list[EngineEvent], at_work: ModelAtWork) -> None:
        """Take in what a step had to say: drawn tokens together with those that follow within moments.

        Between two decodes every line of Python runs on cold caches, and each message wakes the parent, on a core that
        a thread of the decode wants: a few tokens at once cost little more than one. Whatever is not a token goes at
        once, and so do the tokens of its step: the first one comes with the end of the prefill. Text that could end its
        reply is read at once, and said later.
        """
        now = time.perf_counter()
        for event in events:
            if isinstance(event, Inspected):
                # Weighing a large vocabulary takes longer than a step: whoever decodes must not wait for it.
                self._prompts.put((event, now))
            else:
                self._unread.append(event)
        urgent = not all(isinstance(event, Drawn) for event in events)
        due = urgent or now - self._said_at >= TOGETHER_S
        if due or at_work.replies.watching:
            unread, self._unread = self._unread, []
            said = at_work.translate(unread)
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


def _cancelled(commands: list[Cancel | Update]) -> bool:
    return any(isinstance(command, Cancel) and command.candidate is None for command in commands)


def _never_ran(request_id: str, received: float) -> Finished:
    total = time.perf_counter() - received
    return Finished(request_id, "cancelled", "", (), Usage(0, 0, 0), Timings(None, None, None, total), 0)
