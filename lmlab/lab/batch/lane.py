"""One loaded model, kept full of rows until there are no more. Knows nothing of files, formats or what a line says."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from lmlab.backends import Backend, CandidateEnded, Event, Failed, Finished, Loading, Ready, Status, Stopped
from lmlab.errors import EngineStopped, LmlabError, ModelError, UsageError
from lmlab.lab.batch.work import Work
from lmlab.lab.best_of import Candidate, Choice, Question, Selector

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2
# As many again wait inside the engine, so that a row that ends is followed at once.
_AHEAD = 2

Outcome: TypeAlias = Choice | LmlabError
Inbox: TypeAlias = "queue.SimpleQueue[Status | tuple[Work, Event] | _Chosen | Arrived | None]"


class Arrived:
    """There may be another work to take."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    work: Work
    choice: Future[Choice]


class Lane:
    """Answers works with one ``backend``, which tells ``status``. ``selectors`` by run; none where one reply is asked for.

    ``done`` gets each work with its outcome; ``ready`` says whether there is room for what comes of one more. Both are
    called on the thread that runs. ``slots`` replies are made at a time. A work is tried ``1 + retries`` times when it
    failed through no fault that must come again.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        slots: int,
        selectors: Mapping[str, Selector],
        pool: ThreadPoolExecutor,
        retries: int,
        inbox: Inbox,
        listener: Callable[[Status], None],
        done: Callable[[Work, Outcome], None],
        ready: Callable[[], bool],
    ) -> None:
        self._backend = backend
        self._most = slots * _AHEAD
        self._selectors = selectors
        self._pool = pool
        self._retries = retries
        self._inbox = inbox
        self._listener = listener
        self._done = done
        self._ready = ready
        self._busy: dict[str, Work] = {}
        self._weight = 0
        self._again: deque[Work] = deque()
        self._names = 0
        self._stopping = False

    def run(self, works: Iterator[Work | None]) -> None:
        """Answer all of ``works``, a None among which says that none is there yet; once ``None`` is in the inbox, only
        those that are being made.

        Raises LmlabError when no row can be answered: the model cannot be loaded, or a grammar no reply can follow.
        """
        more = True
        while True:
            while more and not self._stopping and self._has_room():
                try:
                    work = self._again.popleft() if self._again else next(works)
                except StopIteration:
                    more = False
                    break
                if work is None:
                    break
                self._submit(work)
            if self._busy or (more and not self._stopping):
                self._take()
            elif self._stopping or not self._again:
                return
            else:
                more = True

    def _has_room(self) -> bool:
        if not self._busy:
            return True
        if self._again or any(work.alone for work in self._busy.values()):
            return False
        return self._weight < self._most and self._ready()

    def _submit(self, work: Work) -> None:
        self._names += 1
        name = f"row-{self._names}"
        try:
            request = work.request(name)
        except LmlabError as error:
            self._done(work, error)
            return
        self._busy[name] = work
        self._weight += work.plan.candidates
        work.handle = self._backend.generate(request, lambda event: self._inbox.put((work, event)))

    def _take(self) -> None:
        try:
            item = self._inbox.get(timeout=_WAIT_S)
        except queue.Empty:
            return
        match item:
            case None:
                self._stop()
            case (Work() as work, event):
                self._fold(work, event)
            case _Chosen(work, choice):
                self._end(work, _outcome(choice))
            case Loading() | Ready() | Stopped():
                self._listener(item)

    def _stop(self) -> None:
        """Let what is being made come to its end, and nothing else begin."""
        self._stopping = True
        for work in self._busy.values():
            if work.gather is not None and work.gather.started is None and work.handle is not None:
                work.handle.cancel()

    def _fold(self, work: Work, event: Event) -> None:
        gather = work.gather
        if gather is None:
            return
        gather.fold(event)
        match event:
            case CandidateEnded():
                self._settle(work)
            case Finished() if self._stopping and all(one.reason == "cancelled" for one in gather.ended):
                # It had hardly begun: the next run does it.
                self._leave(work)
            case Finished():
                self._choose(work, gather.ended)
            case Failed(error=error):
                self._failed(work, error)

    def _settle(self, work: Work) -> None:
        selector, gather = self._selectors.get(work.run), work.gather
        if gather is not None and work.handle is not None:
            for index in gather.needless(selector):
                work.handle.cancel(index)

    def _choose(self, work: Work, candidates: tuple[Candidate, ...]) -> None:
        selector, put = self._selectors.get(work.run), work.put
        if selector is None or put is None:
            self._end(work, Choice(0, "", "", candidates))
        elif selector.blocking:
            future = self._pool.submit(selector.choose, put.question, candidates)
            future.add_done_callback(lambda choice: self._inbox.put(_Chosen(work, choice)))
        else:
            self._end(work, _chosen_now(selector, put.question, candidates))

    def _failed(self, work: Work, error: LmlabError) -> None:
        if isinstance(error, ModelError | UsageError):
            # Not this row's: the model does not load again, or no reply can be as is asked.
            raise error
        self._end(work, error)

    def _end(self, work: Work, outcome: Outcome) -> None:
        if isinstance(outcome, UsageError):
            # A command that cannot be run fails every row alike.
            raise outcome
        self._leave(work)
        if isinstance(outcome, EngineStopped) and work.attempts <= self._retries:
            if not self._stopping:
                # Whichever row it was that ended the engine, it can do so again only to itself.
                work.alone = True
                self._again.append(work)
        else:
            self._done(work, outcome)

    def _leave(self, work: Work) -> None:
        name = next(name for name, busy in self._busy.items() if busy is work)
        del self._busy[name]
        self._weight -= work.plan.candidates


def await_ready(backend: Backend, inbox: Inbox, listener: Callable[[Status], None]) -> Ready | None:
    """Load the model, telling ``listener`` how far it is; None when ``None`` came into the inbox before.

    Raises LmlabError when it cannot be loaded.
    """
    backend.start()
    while True:
        try:
            item = inbox.get(timeout=_WAIT_S)
        except queue.Empty:
            continue
        if item is None:
            return None
        if not isinstance(item, Loading | Ready | Stopped):
            continue
        listener(item)
        if isinstance(item, Ready):
            return item
        if isinstance(item, Stopped):
            raise item.error


def _chosen_now(selector: Selector, question: Question, candidates: tuple[Candidate, ...]) -> Outcome:
    try:
        return selector.choose(question, candidates)
    except LmlabError as error:
        return error


def _outcome(choice: Future[Choice]) -> Outcome:
    try:
        return choice.result()
    except LmlabError as error:
        return error
