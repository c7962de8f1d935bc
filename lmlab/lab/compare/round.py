"""One case put to several variants at once: their answers as they grow, each ending apart from the others.

Knows nothing of records, of votes or of who watches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from lmlab.backends import CandidateEnded, Event, Failed, Finished, Handle
from lmlab.errors import EngineStopped, LmlabError
from lmlab.lab.batch.work import Work
from lmlab.lab.best_of import Choice
from lmlab.lab.compare.answer import Answer, answer_of
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.contender import Contender
from lmlab.lab.result import Source


@dataclass(frozen=True, slots=True)
class Said:
    """What the worker of one variant said about its answer; never a Failed, which is told by Answered."""

    variant: int
    event: Event


@dataclass(frozen=True, slots=True)
class Choosing:
    """All candidates of a variant have ended; its selector takes its time."""

    variant: int
    selector: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The last of a variant: what came of it. ``line`` is what a record keeps of it, ``failure`` why it failed."""

    variant: int
    answer: Answer
    line: dict[str, Any]
    failure: LmlabError | None = None


@dataclass(frozen=True, slots=True)
class NotKept:
    """An answer was drawn and could not be written down; the round goes on."""

    error: LmlabError


@dataclass(frozen=True, slots=True)
class Over:
    """All variants of the round have answered, or failed to."""

    answers: tuple[Answer, ...]


RoundEvent: TypeAlias = Said | Choosing | Answered | NotKept | Over


@dataclass(slots=True, eq=False)
class _Draw:
    """The answer of one variant, on its way. ``cancelled``: it was asked to stop."""

    contender: Contender
    work: Work
    handle: Handle | None = None
    cancelled: bool = False
    choosing: bool = False
    answer: Answer | None = None


class Round:
    """``begin`` once. ``listener`` is called on the workers' threads, under ``lock``, so one event at a time.

    ``lock`` is never held while a worker is called. ``name`` tells the round's requests from those of others.
    """

    def __init__(
        self,
        case: Case,
        contenders: Sequence[Contender],
        *,
        name: str,
        listener: Callable[[RoundEvent], None],
        pool: Executor,
        lock: threading.RLock,
    ) -> None:
        self.case = case
        self._name = name
        self._listener = listener
        self._pool = pool
        self._lock = lock
        self._over = threading.Event()
        self._draws = {
            one.index: _Draw(one, Work(one.index, case.key, case.row, one.plan, one.run)) for one in contenders
        }

    @property
    def over(self) -> bool:
        return self._over.is_set()

    @property
    def answers(self) -> tuple[Answer | None, ...]:
        """Those that are in, in the order of the columns of this round."""
        return tuple(self._draws[index].answer for index in sorted(self._draws))

    def wait(self) -> tuple[Answer, ...]:
        """Block until all have answered."""
        self._over.wait()
        return self._done()

    def begin(self, *, stream: bool) -> None:
        """Ask every variant, and return at once. ``stream`` False brings each answer whole."""
        for draw in self._draws.values():
            contender = draw.contender
            try:
                if contender.backend is None:
                    raise EngineStopped(f"{contender.label} is not open")
                request = draw.work.request(f"{self._name}-{contender.index}")
            except LmlabError as error:
                self._fail(draw, error)
                continue
            request = replace(request, logprobs=True, stream=stream)
            handle = contender.backend.generate(request, partial(self._hear, draw))
            with self._lock:
                draw.handle = handle
                cancelled = draw.cancelled
            if cancelled:
                handle.cancel()

    def cancel(self, variant: int | None = None) -> None:
        """Stop one answer, or all; each ends as ``cancelled`` with what had come of it."""
        stopped: list[Handle] = []
        with self._lock:
            for draw in self._draws.values():
                if variant in (None, draw.contender.index) and not draw.cancelled and draw.answer is None:
                    draw.cancelled = True
                    if draw.handle is not None:
                        stopped.append(draw.handle)
                    if draw.choosing:
                        self._cut(draw)
        for handle in stopped:
            handle.cancel()

    def _hear(self, draw: _Draw, event: Event) -> None:
        gather = draw.work.gather
        assert gather is not None
        needless: tuple[int, ...] = ()
        with self._lock:
            if draw.answer is not None:
                return
            gather.fold(event)
            if isinstance(event, Failed):
                self._fail(draw, event.error)
                return
            self._listener(Said(draw.contender.index, event))
            if isinstance(event, CandidateEnded):
                needless = gather.needless(draw.contender.selector)
            elif isinstance(event, Finished):
                self._finish(draw)
        if draw.handle is not None:
            for index in needless:
                draw.handle.cancel(index)

    def _finish(self, draw: _Draw) -> None:
        """Take up what was drawn, choose where there is a choice, and conclude. The lock is held."""
        gather, put, selector = draw.work.gather, draw.work.put, draw.contender.selector
        assert gather is not None
        assert put is not None
        if draw.cancelled or gather.started is None:
            self._cut(draw)
        elif selector is None:
            self._conclude(draw, Choice(0, "", "", gather.ended))
        elif selector.blocking:
            draw.choosing = True
            self._listener(Choosing(draw.contender.index, selector.name))
            future = self._pool.submit(selector.choose, put.question, gather.ended)
            future.add_done_callback(partial(self._chosen, draw))
        else:
            try:
                choice = selector.choose(put.question, gather.ended)
            except LmlabError as error:
                self._fail(draw, error)
            else:
                self._conclude(draw, choice)

    def _chosen(self, draw: _Draw, future: Future[Choice]) -> None:
        with self._lock:
            if draw.answer is not None:
                return
            # Whatever it was: who waits for the round must not wait for ever.
            error = EngineStopped("the selector was stopped") if future.cancelled() else future.exception()
            if error is None:
                self._conclude(draw, future.result())
                return
            known = error if isinstance(error, LmlabError) else EngineStopped(f"the selector failed: {error!r}")
            self._fail(draw, known)

    def _conclude(self, draw: _Draw, choice: Choice) -> None:
        contender = draw.contender
        assert contender.info is not None
        self._end(draw, draw.work.result(choice, Source(contender.plan.model, contender.info)))

    def _fail(self, draw: _Draw, error: LmlabError) -> None:
        with self._lock:
            if draw.cancelled:
                self._cut(draw)
            else:
                self._end(draw, {**draw.work.failed(error), "text": self._text(draw)}, error)

    def _cut(self, draw: _Draw) -> None:
        """End an answer that was stopped with what there is of it."""
        self._end(draw, draw.work.stopped(self._text(draw)))

    def _end(self, draw: _Draw, line: dict[str, Any], failure: LmlabError | None = None) -> None:
        put = draw.work.put
        asked = self.case.prompt if put is None else put.question.text
        line = {**line, "question": self.case.question, "repeat": self.case.repeat, "asked": asked}
        draw.answer = answer_of(line, draw.contender.index)
        self._listener(Answered(draw.answer.variant, draw.answer, line, failure))
        if all(other.answer is not None for other in self._draws.values()):
            self._over.set()
            self._listener(Over(self._done()))

    def _text(self, draw: _Draw) -> str:
        """Return what has come of the first candidate."""
        return "" if draw.work.gather is None else draw.work.gather.text(0)

    def _done(self) -> tuple[Answer, ...]:
        return tuple(answer for answer in self.answers if answer is not None)
