"""The engine: many requests, one context. ``step`` is admit, schedule, decode, sample, report.

Never sees text. ``submit``, ``update`` and ``cancel`` may be called from any thread; everything else from the one that
steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from lmlab.engine.drafting import Drafting
from lmlab.engine.drawing import Drawing
from lmlab.engine.filling import Filling
from lmlab.engine.kv_memory import WORTH_SHARING, KvMemory, reuse_policy
from lmlab.engine.prefix_cache import ReusePolicy
from lmlab.engine.request import (
    Admitted,
    EndReason,
    EngineEvent,
    EngineRequest,
    Group,
    Inspected,
    Mailbox,
    Peeked,
    Prefilled,
    Refused,
    Running,
    Scales,
)
from lmlab.engine.saving import Saving
from lmlab.engine.scheduler import FixedPace, Pace, Slice, plan_step
from lmlab.errors import ContextOverflow, EngineStopped, LmlabError
from lmlab.llama import Context, DecodeStatus, Model
from lmlab.sampling import SamplingParams

LOOKAHEAD = 32
"""Waiting candidates looked at in one step: those that wait for a prefix do not hold up the ones behind them."""


class Engine:
    """Runs requests on ``context``, which it owns from now on.

    ``reuse`` False decodes every prompt whole. ``deterministic`` makes the shape of each batch depend on the request
    alone; its context has one sequence. ``drafting`` guesses tokens ahead. ``adapt`` puts LoRA scales in force.
    ``clock`` gives seconds.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        reuse: bool = True,
        deterministic: bool = False,
        drafting: Drafting | None = None,
        adapt: Callable[[Scales], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._context = context
        self._deterministic = deterministic
        self._drafting = drafting
        self._adapt = adapt
        self._clock = clock
        self._policy = reuse_policy(model)
        self._memory = KvMemory(
            context, self._policy, sliding_window=model.sliding_window, reuse=reuse and not deterministic
        )
        # A recurrent state cannot be cut back to before a wrong guess.
        self._filling = None if drafting or self._policy == "recurrent" else Filling()
        self._drawing = Drawing(model, context)
        self._saving = Saving(context, self._policy)
        self._mailbox = Mailbox()
        self._groups: dict[str, Group] = {}
        self._waiting: deque[Running] = deque()
        self._running: list[Running] = []
        self._scales: Scales = ()
        self._pace = FixedPace() if deterministic else Pace()
        self._interruptible = True

    @property
    def policy(self) -> ReusePolicy:
        return self._policy

    @property
    def busy(self) -> bool:
        """Whether ``step`` has anything to do."""
        return bool(self._running or self._waiting or self._mailbox.submitted or self._mailbox.peeks)

    def submit(self, request: EngineRequest) -> None:
        self._mailbox.submitted.append(request)

    def peek(self, request_id: str, tokens: tuple[int, ...], scales: Scales) -> None:
        """Ask how many of ``tokens`` are in the KV cache; a Peeked answers. Nothing is touched."""
        self._mailbox.peeks.append((request_id, tokens, scales))

    def update(self, request_id: str, sampling: SamplingParams) -> None:
        """Change a request's sampling (complete) at its next token; a Changed event says from which."""
        self._mailbox.updates.append((request_id, sampling))

    def cancel(self, request_id: str, candidate: int | None = None) -> None:
        """End a request, or one candidate of it, now, interrupting the decode that is running; Ended follows."""
        self._mailbox.cancelled.append((request_id, candidate))
        if self._interruptible:
            self._context.interrupt()

    def finish(self, request_id: str, candidate: int = 0) -> list[EngineEvent]:
        """End a candidate with reason ``stop``: the caller saw in its text what the engine cannot see."""
        events: list[EngineEvent] = []
        for running in self._live(request_id, candidate):
            self._end(running, "stop", events)
        return events

    def step(self) -> list[EngineEvent]:
        """Do one step and return what happened, in order."""
        events = self._read_mailbox()
        self._admit(events)
        plan = self._plan()
        # An interrupt costs a recurrent model every state it holds: not worth it for one token a sequence.
        self._interruptible = self._policy != "recurrent" or any(part.count > 1 for part in plan)
        if plan and not self._mailbox.cancelled:
            rows = self._fill(plan)
            begin = self._clock()
            status = self._context.decode()
            if status is DecodeStatus.DONE:
                now = self._clock()
                self._pace.record(plan, now - begin)
                for learner in [one for one in (self._drafting, self._filling) if one is not None]:
                    learner.record(plan, now - begin)
                self._advance(plan, rows, now, events)
            elif status is DecodeStatus.INTERRUPTED:
                self._restore(plan)
            elif status is DecodeStatus.NO_ROOM:
                self._give_way(events)
            else:
                self._fail(plan, events)
        return events

    def _read_mailbox(self) -> list[EngineEvent]:
        # The flag is cleared before the mailbox is read: a cancel that comes later interrupts the decode below.
        self._context.clear_interrupt()
        events: list[EngineEvent] = []
        while self._mailbox.submitted:
            request = self._mailbox.submitted.popleft()
            limit = self._context.size - (not request.inspect)
            if len(request.tokens) > limit:
                events.append(Refused(request.id, ContextOverflow(len(request.tokens), limit)))
                continue
            group = self._groups[request.id] = Group(request)
            group.live = [
                Running(group, candidate, list(request.tokens), request.sampling)
                for candidate in range(request.candidates)
            ]
            self._waiting.extend(group.live)
        while self._mailbox.peeks:
            request_id, tokens, scales = self._mailbox.peeks.popleft()
            events.append(Peeked(request_id, self._memory.cached(tokens, scales)))
        while self._mailbox.updates:
            request_id, sampling = self._mailbox.updates.popleft()
            for running in self._live(request_id):
                running.pending = sampling
        while self._mailbox.cancelled:
            for running in self._live(*self._mailbox.cancelled.popleft()):
                self._end(running, "cancelled", events)
        return events

    def _live(self, request_id: str, candidate: int | None = None) -> list[Running]:
        group = self._groups.get(request_id)
        if group is None:
            return []
        return [running for running in group.live if candidate is None or running.candidate == candidate]

    def _admit(self, events: list[EngineEvent]) -> None:
        """Start waiting candidates while there are sequences and KV for them, each on the longest prefix still held."""
        if not self._waiting or not self._memory.has_sequence():
            return
        for candidate in list(islice(self._waiting, LOOKAHEAD)):
            if not self._memory.has_sequence():
                return
            if candidate.request.scales != self._scales:
                # Adapters are the context's: those that run now end first.
                if self._running or self._adapt is None:
                    return
                self._scales = candidate.request.scales
                self._adapt(self._scales)
            if self._awaits_prefix(candidate):
                continue
            if not self._memory.fits(candidate, self._memory.matched(candidate), self._running):
                return
            self._waiting.remove(candidate)
            self._begin(candidate, events)

    def _awaits_prefix(self, candidate: Running) -> bool:
        """Whether another is decoding what this one begins with; if it has done so, let this one share it."""
        if any(other.sequence >= 0 and other.prefilling for other in candidate.group.live):
            return True
        leader, shared = self._memory.leader(candidate, self._running)
        if leader is None or shared < self._memory.matched(candidate) + WORTH_SHARING:
            return False
        if leader.computed < shared:
            return True
        if leader.lease is None or leader.lease.length < shared:
            self._memory.publish(leader)
        return False

    def _begin(self, candidate: Running, events: list[EngineEvent]) -> None:
        if self._deterministic:
            self._context.clear()
        restored = self._memory.enter(candidate)
        self._running.append(candidate)
        if not restored:
            events += self._saving.branch(candidate)
        # Before it takes cells beyond the idle ones: all that wait will soon be rows too.
        self._memory.trim(min(self._context.sequences, len(self._running) + len(self._waiting)))
        group = candidate.group
        if not group.admitted:
            group.admitted = True
            group.cached, group.restored = candidate.computed, restored
            group.started = group.latest = self._clock()
            events.append(Admitted(group.request.id, group.cached, group.restored))
        elif candidate.candidate == 0:
            # Set back before: what it does not find again is decoded again.
            group.cached = min(group.cached, candidate.computed)
        if candidate.complete:
            self._end(candidate, "length", events)

    def _plan(self) -> list[Slice]:
        context = self._context
        together = self._memory.joins_rows
        plan = plan_step(self._running, self._pace, context.batch.capacity, context.outputs, together=together)
        if self._drafting is not None:
            self._drafting.propose(plan, context.outputs, context.size)
        elif self._filling is not None:
            # Never at the price of what somebody holds.
            most = min(context.outputs, self._memory.free_cells(self._running))
            self._filling.propose(plan, most, context.size)
        return plan

    def _fill(self, plan: list[Slice]) -> list[int]:
        """Put ``plan`` into the batch and return each slice's last row, or its first one with logits."""
        self._memory.make_room(sum(part.count + len(part.drafts) for part in plan), self._running)
        batch = self._context.batch
        batch.clear()
        rows = []
        for part in plan:
            running = part.running
            tokens = running.tokens[running.computed : running.computed + part.count]
            wanted = part.count == running.remaining
            row = batch.add(tokens, running.computed, running.sequence, logits=wanted)
            rows.append(row)
            for ahead, token in enumerate(part.drafts, 1):
                batch.add([token], running.computed + ahead, running.sequence, logits=True)
        return rows

    def _advance(self, plan: list[Slice], rows: list[int], now: float, events: list[EngineEvent]) -> None:
        # Before any draw: it may end the candidate whose cells its twins share.
        for part in plan:
            for twin in part.twins:
                self._memory.follow(part.running, twin)
        for part, row in zip(plan, rows, strict=True):
            for drawing in self._drawing_from(part, row, events):
                # An earlier draw of this step may have refused its request.
                if drawing.running.sequence >= 0:
                    self._draw(drawing, row, now, events)

    def _drawing_from(self, part: Slice, row: int, events: list[EngineEvent]) -> list[Slice]:
        """Take in that ``part`` is decoded; return it and what else draws from its last row, nothing before its prompt's end."""
        running = part.running
        others = [Slice(twin, 0) for twin in part.twins]
        if running.sequence < 0:
            return others
        prefilling = running.prefilling
        running.computed += part.count
        if prefilling:
            if not running.drawn:
                total = len(running.request.tokens)
                events.append(Prefilled(running.request.id, min(running.computed, total), total))
            if not running.prefilling and not running.request.inspect:
                self._memory.publish(running)
        if running.remaining:
            return []
        if running.request.inspect:
            events.append(Inspected(running.request.id, self._context.logits(row).copy()))
            self._remove(running, keep=False)
            return []
        if prefilling and not running.drawn:
            # Candidates of one prompt draw their first tokens from one row.
            others = [Slice(sibling, 0) for sibling in self._fork(running)]
        return [part, *others]

    def _fork(self, source: Running) -> list[Running]:
        """Let the waiting candidates of the same request go on from where ``source`` is, as many as there is room for."""
        siblings = []
        for sibling in [other for other in source.group.live if other.sequence < 0 and not other.drawn]:
            if self._memory.has_sequence() and self._memory.fits(sibling, len(sibling.tokens), self._running):
                self._waiting.remove(sibling)
                self._memory.fork(source, sibling)
                self._running.append(sibling)
                siblings.append(sibling)
        return siblings

    def _draw(self, part: Slice, row: int, now: float, events: list[EngineEvent]) -> None:
        """Draw the next token from ``row``, and from the rows after it as long as the draws are what was drafted."""
        running = part.running
        accepted = 0
        try:
            reason = self._drawing.draw(running, row, now, events)
            for ahead, draft in enumerate(part.drafts, 1):
                if reason is not None or running.tokens[-1] != draft:
                    break
                accepted = ahead
                reason = self._drawing.draw(running, row + ahead, now, events)
        except LmlabError as error:
            self._refuse(running.group, error, events)
            return
        if part.drafts:
            running.computed += accepted
            if accepted < len(part.drafts):
                self._cut_back(running)
        if self._drafting is not None:
            self._drafting.drawn(running, len(part.drafts), accepted)
        if reason is not None:
            self._end(running, reason, events)

    def _end(self, running: Running, reason: EndReason, events: list[EngineEvent]) -> None:
        held = running.computed
        events += self._saving.end(running)
        self._remove(running, keep=True)
        events.append(running.end_event(reason, self._clock(), held=held, speculating=self._drafting is not None))

    def _remove(self, running: Running, *, keep: bool) -> None:
        """Take a candidate out, wherever it is, and close what it owns."""
        if running.sequence >= 0:
            self._running.remove(running)
            if self._drafting is not None:
                self._drafting.drop(running.sequence)
            self._memory.leave(running, keep=keep)
        else:
            self._waiting.remove(running)
        if running.sampler is not None:
            running.sampler.close()
        group = running.group
        group.live.remove(running)
        if not group.live:
            del self._groups[group.request.id]
            if group.request.grammar is not None:
                group.request.grammar.close()

    def _refuse(self, group: Group, error: LmlabError, events: list[EngineEvent]) -> None:
        for running in list(group.live):
            self._remove(running, keep=False)
        events.append(Refused(group.request.id, error))

    def _restore(self, plan: list[Slice]) -> None:
        """After an interrupt: forget what a half-done batch left behind, so that its requests go on from where they were."""
        if self._policy == "recurrent":
            self._forget()
            return
        for running in (part.running for part in plan):
            self._cut_back(running)

    def _cut_back(self, running: Running) -> None:
        """Forget what the KV cache holds beyond what ``running`` has computed, or all of it where that cannot be cut."""
        if not self._memory.cut_back(running):
            self._begin_again(running)

    def _begin_again(self, running: Running) -> None:
        self._memory.drop(running)
        if running.candidate == 0:
            running.group.cached = running.group.restored = 0

    def _forget(self) -> None:
        """Begin every request again: a batch cut short leaves states, of idle sequences too, moved but not yet copied."""
        self._memory.cache.clear()
        for running in self._running:
            self._begin_again(running)

    def _give_way(self, events: list[EngineEvent]) -> None:
        """No KV cells are free: give up an idle prefix, or else set the youngest request back, or else end the only one."""
        if self._memory.cache.evict() is not None:
            return
        youngest = self._running[-1]
        if len(self._running) > 1:
            self._running.pop()
            if self._drafting is not None:
                self._drafting.drop(youngest.sequence)
            self._memory.leave(youngest, keep=False)
            self._waiting.appendleft(youngest)
        else:
            self._end(youngest, "context", events)

    def _fail(self, plan: list[Slice], events: list[EngineEvent]) -> None:
        """llama.cpp could not compute this batch: those in it fail, what they held is dropped, the rest go on."""
        for group in dict.fromkeys(running.group for part in plan for running in (part.running, *part.twins)):
            error = EngineStopped("llama.cpp could not compute this reply: try again, or with a smaller --ctx-size")
            self._refuse(group, error, events)
        if self._policy == "recurrent":
            self._forget()
