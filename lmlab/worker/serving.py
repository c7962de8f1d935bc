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

from lmlab.engine import EngineRequest
from lmlab.errors import LmlabError, ModelLoadError
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.loading import Loaded
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
    Ready,
    Report,
    Request,
    Timings,
    Token,
    Update,
    Usage,
)
from lmlab.worker.streams import Replies

TOGETHER_S = 0.04
"""Tokens drawn within this time are said together: as often as a film shows a picture."""

KEPT_PIECES = 8192
"""Tokens whose bytes are remembered: asking llama.cpp for them costs more than a dictionary."""

Loader = Callable[[LoadSpec, Callable[[float], None]], Loaded]


class Worker:
    """Serves one parent over ``connection`` with the model that its first command names."""

    def __init__(self, connection: Connection, load: Loader) -> None:
        self._connection = connection
        self._load = load
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._prompts: queue.SimpleQueue[tuple[Request, float]] = queue.SimpleQueue()
        # Requests that the engine does not know yet, and what was said of them meanwhile. Under a lock, so that what
        # is repeated to the engine does not overtake what is said next.
        self._handing_over = threading.Lock()
        self._encoding: set[str] = set()
        self._cancelled: set[str] = set()
        self._updated: dict[str, SamplingParams] = {}
        self._held: list[Event] = []
        self._said_at = 0.0
        self._loaded: Loaded | None = None
        self._replies: Replies | None = None

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
        replies = Replies(loaded.engine, functools.lru_cache(KEPT_PIECES)(loaded.model.vocabulary.piece))
        self._loaded, self._replies = loaded, replies
        threading.Thread(target=self._encode, args=(loaded, replies), daemon=True, name="encoder").start()
        self._send(Ready(loaded.info))
        while True:
            self._wake.wait()
            self._wake.clear()
            while loaded.engine.busy:
                self._say_soon(replies.translate(loaded.engine.step()))

    def _read(self) -> None:
        try:
            while True:
                command = self._connection.recv()
                match command:
                    case Generate(request):
                        self._encoding.add(request.id)
                        self._prompts.put((request, time.perf_counter()))
                    case Cancel(request_id):
                        self._cancel(request_id)
                    case Update(request_id, sampling):
                        self._update(request_id, sampling)
                    case _:
                        raise TypeError(f"unknown command {command!r}")
        except (EOFError, OSError):
            # Not sys.exit: the main thread may be inside llama.cpp for seconds, and nothing here needs saving.
            os._exit(0)

    def _cancel(self, request_id: str) -> None:
        with self._handing_over:
            if request_id in self._encoding:
                self._cancelled.add(request_id)
            elif self._loaded is not None:
                self._loaded.engine.cancel(request_id)

    def _update(self, request_id: str, asked: SamplingParams) -> None:
        with self._handing_over:
            if request_id in self._encoding:
                self._updated[request_id] = asked
            elif self._loaded is not None and self._replies is not None:
                in_force = self._replies.sampling(request_id)
                if in_force is not None:
                    self._loaded.engine.update(request_id, self._resolve(self._loaded, asked, in_force.seed))

    def _encode(self, loaded: Loaded, replies: Replies) -> None:
        while True:
            request, received = self._prompts.get()
            tokens: tuple[int, ...] = ()
            refusal: LmlabError | None = None
            if request.id not in self._cancelled:
                try:
                    tokens = tuple(loaded.encoder.encode(request.prompt))
                except LmlabError as error:
                    refusal = error
            with self._handing_over:
                cancelled, asked = self._forget(request.id)
                if not cancelled and refusal is None:
                    sampling = self._resolve(loaded, request.sampling, None)
                    replies.add(request.id, len(tokens), sampling)
                    loaded.engine.submit(EngineRequest(request.id, tokens, sampling, request.logprobs, received))
                    if asked is not None:
                        loaded.engine.update(request.id, self._resolve(loaded, asked, sampling.seed))
            if cancelled:
                self._say([_never_ran(request.id, received)])
            elif refusal is not None:
                self._say([Failed(request.id, refusal)])
            else:
                self._wake.set()

    def _forget(self, request_id: str) -> tuple[bool, SamplingParams | None]:
        """Encoding a request is over; return whether it was cancelled meanwhile, and what it was last updated to."""
        self._encoding.discard(request_id)
        cancelled = request_id in self._cancelled
        self._cancelled.discard(request_id)
        return cancelled, self._updated.pop(request_id, None)

    @staticmethod
    def _resolve(loaded: Loaded, asked: SamplingParams, seed: int | None) -> SamplingParams:
        """Return ``asked`` made complete; with no seed asked for, ``seed``, or else a random one."""
        complete = asked.merge(loaded.info.recommended).merge(DEFAULTS)
        if complete.seed is None or complete.seed == -1:
            return complete.with_value("seed", secrets.randbits(31) if seed is None else seed)
        return complete

    def _report_loading(self, fraction: float) -> None:
        self._send(Loading(fraction))

    def _say_soon(self, events: list[Event]) -> None:
        """Say ``events``, tokens together with those that follow within moments.

        Each message wakes the parent, on a core that a thread of the decode wants. Whatever is not a token, and the
        first token of a reply, goes at once; a reply ends with such an event.
        """
        self._held += events
        now = time.perf_counter()
        urgent = any(not isinstance(event, Token) or event.index == 0 for event in events)
        if urgent or now - self._said_at >= TOGETHER_S:
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


def _never_ran(request_id: str, received: float) -> Finished:
    total = time.perf_counter() - received
    return Finished(request_id, "cancelled", "", (), Usage(0, 0, 0), Timings(None, None, None, total), 0)
