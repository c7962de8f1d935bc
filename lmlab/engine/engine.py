"""The engine: many requests, one context. ``step`` is admit, schedule, decode, sample, report.

Never sees text. ``submit``, ``update`` and ``cancel`` may be called from any thread; everything else from the one that
steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from lmlab.engine.prefix_cache import PrefixCache, ReusePolicy
from lmlab.engine.request import (
    Admitted,
    Changed,
    Drawn,
    Ended,
    EngineEvent,
    EngineRequest,
    Mailbox,
    Prefilled,
    Refused,
    Running,
)
from lmlab.engine.scheduler import Pace, Slice, plan_step
from lmlab.errors import ContextOverflow, EngineStopped
from lmlab.llama import Context, DecodeStatus, Model, Sampler
from lmlab.sampling import SamplingParams

KEPT_PREFIXES = {"full": 32, "sliding-window": 32, "recurrent": 4}
"""Idle prefixes kept at most. They cost KV cells, given up when needed; a recurrent one costs a state of its own."""


def reuse_policy(model: Model) -> ReusePolicy:
    """Return how prefixes of this model's memory may be reused."""
    if model.recurrent:
        return "recurrent"
    return "sliding-window" if model.sliding_window else "full"


class Engine:
    """Runs requests on ``context``, which it owns from now on. ``clock`` gives seconds."""

    def __init__(self, model: Model, context: Context, clock: Callable[[], float] = time.perf_counter) -> None:
        self._model = model
        self._context = context
        self._clock = clock
        self._policy = reuse_policy(model)
        self._free = list(range(context.sequences))
        self._cache = PrefixCache(
            context,
            self._policy,
            sliding_window=model.sliding_window,
            first=context.sequences,
            capacity=KEPT_PREFIXES[self._policy],
        )
        self._mailbox = Mailbox()
        self._waiting: deque[Running] = deque()
        self._running: list[Running] = []
        self._pace = Pace()
        self._interruptible = True

    @property
    def policy(self) -> ReusePolicy:
        return self._policy

    @property
    def busy(self) -> bool:
        """Whether ``step`` has anything to do."""
        return bool(self._running or self._waiting or self._mailbox.submitted)

    def submit(self, request: EngineRequest) -> None:
        self._mailbox.submitted.append(request)

    def update(self, request_id: str, sampling: SamplingParams) -> None:
        """Change a request's sampling (complete) at its next token; a Changed event says from which."""
        self._mailbox.updates.append((request_id, sampling))

    def cancel(self, request_id: str) -> None:
        """End a request now, interrupting the decode that is running; Ended with ``cancelled`` follows."""
        self._mailbox.cancelled.append(request_id)
        if self._interruptible:
            self._context.interrupt()

    def finish(self, request_id: str) -> list[EngineEvent]:
        """End a running request with reason ``stop``: the caller saw in its text what the engine cannot see."""
        running = self._find(request_id)
        return [] if running is None else [self._end(running, "stop")]

    def step(self) -> list[EngineEvent]:
        """Do one step and return what happened, in order."""
        events = self._read_mailbox()
        self._admit(events)
        plan = plan_step(self._running, self._pace, self._context.batch.capacity)
        # An interrupt costs a recurrent model every state it holds: not worth it for one token a sequence.
        self._interruptible = self._policy != "recurrent" or any(part.count > 1 for part in plan)
        if plan and not self._mailbox.cancelled:
            rows = self._fill(plan)
            begin = self._clock()
            status = self._context.decode()
            if status is DecodeStatus.DONE:
                now = self._clock()
                self._pace.record(plan, now - begin)
                self._advance(plan, rows, now, events)
            elif status is DecodeStatus.INTERRUPTED:
                self._restore(plan)
            elif status is DecodeStatus.NO_ROOM:
                self._make_room(events)
            else:
                self._fail(plan, events)
        return events

    def _read_mailbox(self) -> list[EngineEvent]:
        # The flag is cleared before the mailbox is read: a cancel that comes later interrupts the decode below.
        self._context.clear_interrupt()
        events: list[EngineEvent] = []
        while self._mailbox.submitted:
            request = self._mailbox.submitted.popleft()
            limit = self._context.size - 1
            if len(request.tokens) > limit:
                events.append(Refused(request.id, ContextOverflow(len(request.tokens), limit)))
            else:
                self._waiting.append(Running(request, list(request.tokens), request.sampling))
        while self._mailbox.updates:
            request_id, sampling = self._mailbox.updates.popleft()
            if running := self._find(request_id):
                running.pending = sampling
        while self._mailbox.cancelled:
            if running := self._find(self._mailbox.cancelled.popleft()):
                events.append(self._end(running, "cancelled"))
        return events

    def _find(self, request_id: str) -> Running | None:
        return next((r for r in (*self._running, *self._waiting) if r.request.id == request_id), None)

    def _admit(self, events: list[EngineEvent]) -> None:
        """Start waiting requests while there are sequences and KV for them, each on the longest prefix still held."""
        while self._waiting and self._free:
            held = sum(len(other.tokens) for other in self._running)
            if self._running and held + len(self._waiting[0].tokens) >= self._context.size:
                return
            running = self._waiting.popleft()
            running.sequence = self._free.pop(0)
            resident, running.computed = self._cache.match(running.tokens)
            if resident is not None:
                self._cache.begin(resident, running.computed, running.sequence)
            if not running.admitted_before:
                running.admitted_before = True
                running.cached = running.computed
                running.started = running.latest = self._clock()
                events.append(Admitted(running.request.id, running.cached))
            self._running.append(running)

    def _fill(self, plan: list[Slice]) -> list[int]:
        """Put ``plan`` into the batch and return each slice's last row."""
        batch = self._context.batch
        batch.clear()
        rows = []
        for part in plan:
            running = part.running
            tokens = running.tokens[running.computed : running.computed + part.count]
            wanted = part.count == running.remaining
            rows.append(batch.add(tokens, running.computed, running.sequence, logits=wanted))
        return rows

    def _advance(self, plan: list[Slice], rows: list[int], now: float, events: list[EngineEvent]) -> None:
        for part, row in zip(plan, rows, strict=True):
            running = part.running
            prefilling = running.computed < len(running.request.tokens)
            running.computed += part.count
            if prefilling:
                total = len(running.request.tokens)
                events.append(Prefilled(running.request.id, min(running.computed, total), total))
            if running.remaining == 0:
                self._draw(running, row, now, events)

    def _draw(self, running: Running, row: int, now: float, events: list[EngineEvent]) -> None:
        """Sample the next token of ``running`` from the logits of ``row`` and say so."""
        if running.pending is not None:
            self._change(running, running.pending, events)
        if running.sampler is None:
            running.sampler = Sampler(
                running.sampling, running.tokens, vocabulary=self._model.vocabulary.size, longest=self._context.size
            )
        token = running.sampler.sample(self._context, row)
        logprob = self._logprob(row, token) if running.request.logprobs else None
        end = self._model.vocabulary.is_end(token)
        events.append(Drawn(running.request.id, running.drawn, token, end, logprob))
        if running.first is None:
            running.first = now
        running.latest = now
        if end:
            running.ended = True
            events.append(self._end(running, "stop"))
            return
        running.tokens.append(token)
        if running.sampling.max_tokens is not None and running.drawn >= running.sampling.max_tokens:
            events.append(self._end(running, "length"))
        elif len(running.tokens) >= self._context.size:
            events.append(self._end(running, "context"))

    def _change(self, running: Running, sampling: SamplingParams, events: list[EngineEvent]) -> None:
        running.pending = None
        changes = running.sampling.changes(sampling)
        running.sampling = sampling
        if running.sampler is not None:
            running.sampler.change(sampling, running.tokens)
        if changes:
            events.append(Changed(running.request.id, running.drawn, sampling, changes))

    def _logprob(self, row: int, token: int) -> float:
        logits = self._context.logits(row)
        peak = float(logits.max())
        return float(logits[token]) - peak - float(np.log(np.exp(logits - peak, dtype=np.float32).sum()))

    def _end(self, running: Running, reason: str) -> Ended:
        if running in self._running:
            self._running.remove(running)
            self._release(running)
        else:
            self._waiting.remove(running)
        if running.sampler is not None:
            running.sampler.close()
        now = self._clock()
        first = running.first
        return Ended(
            request_id=running.request.id,
            reason=reason,  # type: ignore[arg-type]
            cached=running.cached,
            drawn=running.drawn + running.ended,
            first_s=None if first is None else first - running.request.received,
            prefill_s=((first or now) - running.started) if running.admitted_before else 0.0,
            decode_s=0.0 if first is None else running.latest - first,
            total_s=now - running.request.received,
            held=running.computed,
        )

    def _release(self, running: Running) -> None:
        """Keep what ``running`` decoded for the next request that begins alike."""
        if running.computed:
            self._cache.keep(running.sequence, running.tokens[: running.computed])
        self._free.append(running.sequence)

    def _restore(self, plan: list[Slice]) -> None:
        """After an interrupt: forget what a half-done batch left behind, so that its requests go on from where they were."""
        if self._policy == "recurrent":
            self._forget()
            return
        for running in (part.running for part in plan):
            whole = self._context.cut(running.sequence, running.computed)
            intact = self._cache.window_intact(running.sequence, running.computed)
            if running.computed and not (whole and intact):
                self._recompute(running)

    def _forget(self) -> None:
        """Begin every request again: a batch cut short leaves states, of idle sequences too, moved but not yet copied."""
        while self._cache.evict():
            pass
        for running in self._running:
            self._recompute(running)

    def _recompute(self, running: Running) -> None:
        self._context.drop(running.sequence)
        running.computed = running.cached = 0

    def _make_room(self, events: list[EngineEvent]) -> None:
        """No KV cells are free: give up an idle prefix, or else set the youngest request back, or else end the only one."""
        if self._cache.evict():
            return
        youngest = self._running[-1]
        if len(self._running) > 1:
            self._running.remove(youngest)
            self._recompute(youngest)
            self._free.append(youngest.sequence)
            youngest.sequence = -1
            self._waiting.appendleft(youngest)
        else:
            events.append(self._end(youngest, "context"))

    def _fail(self, plan: list[Slice], events: list[EngineEvent]) -> None:
        """llama.cpp could not compute this batch: those in it fail, what they held is dropped, the rest go on."""
        for running in (part.running for part in plan):
            self._running.remove(running)
            self._context.drop(running.sequence)
            self._free.append(running.sequence)
            if running.sampler is not None:
                running.sampler.close()
            error = EngineStopped("llama.cpp could not compute this reply: try again, or with a smaller --ctx-size")
            events.append(Refused(running.request.id, error))
        if self._policy == "recurrent":
            self._forget()
