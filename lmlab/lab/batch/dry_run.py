"""A batch tried out: every row rendered and its tokens counted, a few answered to see how long all of them take.

Knows nothing of outputs: nothing is written.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from lmlab.backends import (
    Backend,
    Encode,
    Encoded,
    Event,
    Failed,
    Finished,
    Loading,
    LoadSpec,
    Request,
    StatusSink,
    Stopped,
)
from lmlab.errors import ContextOverflow, LmlabError, ModelError, UsageError
from lmlab.lab.batch.lane import Inbox, await_ready
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.work import Work

# Enough for the engine to be as full as in the run, few enough not to be one.
_MEASURED = 8
_AHEAD = 64
_WAIT_S = 0.2
_TAKE_TIME = ("judge", "reward", "command")

DryEvent: TypeAlias = Loading | Stopped | tuple[str, int]
"""A tuple is a stage and how far it is: bytes of the input, or rows answered."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one variant would take. ``failed`` rows cannot be asked, ``first_error`` says why for the first of them.

    ``seconds`` is None when nothing could be measured; it is what ``measured`` rows took to be drawn, times all of them.
    ``selector`` chooses among what is drawn, in a time of its own.
    """

    label: str
    rows: int
    failed: int
    first_error: str | None
    prompt_tokens: int
    longest: int
    measured: int
    seconds: float | None
    selector: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield it in sentences."""
        yield (
            f"{self.rows:,} rows, {self.prompt_tokens:,} prompt tokens, {self.longest:,} in the longest prompt; "
            "what a shared beginning saves is not taken off"
        )
        if self.failed:
            yield f"{self.failed:,} rows would fail; the first: {self.first_error}"
        if self.seconds is not None:
            beside = f", beside the time that {self.selector} takes" if self.selector else ""
            yield (
                f"about {_duration(self.seconds)} for all of them, done before or not{beside}; "
                f"from the {self.measured} rows that were answered to measure it"
            )


class DryRun:
    """Run once. ``rows`` gives the input from its beginning each time."""

    def __init__(
        self,
        plans: tuple[Plan, ...],
        *,
        rows: Callable[[], Iterable[Row | BadRow]],
        opener: Callable[[LoadSpec, StatusSink], Backend],
        listener: Callable[[DryEvent], None],
    ) -> None:
        self._plans = plans
        self._rows = rows
        self._opener = opener
        self._listener = listener
        self._cancelled = False

    def cancel(self) -> None:
        """Stop as soon as can be. May be called from a signal handler."""
        self._cancelled = True

    def run(self) -> tuple[Estimate, ...] | None:
        """Return an estimate a variant; None when cancelled. Raises LmlabError when a model cannot be loaded."""
        estimates = []
        for plan in self._plans:
            inbox: Inbox = queue.SimpleQueue()
            with closing(self._opener(plan.load, inbox.put)) as backend:
                ready = await_ready(backend, inbox, self._heard)
                trial = _Trial(plan, backend, ready.info.context if ready else 0)
                estimate = trial.run(self._rows(), self._listener, lambda: self._cancelled)
            if estimate is None:
                return None
            estimates.append(estimate)
        return tuple(estimates)

    def _heard(self, status: object) -> None:
        if isinstance(status, Loading | Stopped):
            self._listener(status)


class _Trial:
    """One variant, tried out on its own model."""

    def __init__(self, plan: Plan, backend: Backend, context: int) -> None:
        self._plan = plan
        self._backend = backend
        self._context = context
        self._answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._waiting = 0
        self._rows = self._failed = self._tokens = self._longest = 0
        self._first_error: str | None = None
        self._measured: dict[str, Request] = {}

    def run(
        self,
        rows: Iterable[Row | BadRow],
        listener: Callable[[DryEvent], None],
        cancelled: Callable[[], bool],
    ) -> Estimate | None:
        for row in rows:
            if cancelled():
                return None
            self._rows += 1
            self._ask(Work(self._rows, f"{self._rows:032x}", row, self._plan, ""))
            listener(("counting tokens", row.position))
            while self._waiting >= _AHEAD:
                self._hear()
        while self._waiting and not cancelled():
            self._hear()
        seconds = self._measure(listener, cancelled)
        if cancelled():
            return None
        return Estimate(
            self._plan.label,
            self._rows,
            self._failed,
            self._first_error,
            self._tokens,
            self._longest,
            len(self._measured),
            seconds,
            str(selector) if (selector := self._plan.selector) and selector.kind in _TAKE_TIME else None,
        )

    def _ask(self, work: Work) -> None:
        name = f"row-{work.number}"
        try:
            request = work.request(name)
        except LmlabError as error:
            self._fail(str(error))
            return
        if len(self._measured) < _MEASURED:
            self._measured[name] = request
        self._waiting += 1
        self._backend.ask(Encode(name, request.prompt), self._answers.put)

    def _hear(self) -> None:
        try:
            event = self._answers.get(timeout=_WAIT_S)
        except queue.Empty:
            return
        self._waiting -= 1
        match event:
            case Encoded(tokens=tokens):
                self._tokens += len(tokens)
                self._longest = max(self._longest, len(tokens))
                if len(tokens) >= self._context:
                    self._fail(str(ContextOverflow(len(tokens), self._context - 1)))
                    self._measured.pop(event.request_id, None)
            case Failed(error=error):
                if isinstance(error, ModelError | UsageError):
                    raise error
                self._fail(str(error))
                self._measured.pop(event.request_id, None)

    def _measure(self, listener: Callable[[DryEvent], None], cancelled: Callable[[], bool]) -> float | None:
        """Answer a few rows; return how long all of them would take."""
        begun = time.monotonic()
        answered = 0
        for request in self._measured.values():
            self._backend.generate(request, self._answers.put)
        while answered < len(self._measured) and not cancelled():
            listener(("measuring", answered))
            try:
                event = self._answers.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
            if isinstance(event, Failed):
                raise event.error
            answered += isinstance(event, Finished)
        if not answered:
            return None
        return (time.monotonic() - begun) / answered * (self._rows - self._failed)

    def _fail(self, why: str) -> None:
        self._failed += 1
        if self._first_error is None:
            self._first_error = why


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
