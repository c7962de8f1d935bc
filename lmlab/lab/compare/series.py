"""A file of cases put to every variant, many at a time, with nobody watching: what is done is passed over.

Knows nothing of where cases come from or of what is made of the answers.
"""

from __future__ import annotations

import queue
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from lmlab.errors import EngineStopped, ModelError, UsageError
from lmlab.lab.batch.row import BadRow
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.contender import Contender
from lmlab.lab.compare.round import Answered, NotKept, Round, RoundEvent

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2
# As many again wait inside the engine, so that an answer that ends is followed at once.
_AHEAD = 2


@dataclass(slots=True)
class Progress:
    """How many answers there are: drawn by this run, found in the record, failed; ``tokens`` drawn."""

    drawn: int = 0
    found: int = 0
    failed: int = 0
    tokens: int = 0
    first_failure: str | None = None


@dataclass(slots=True, eq=False)
class _Busy:
    """A round under way; ``alone`` when it is tried with nothing beside it."""

    case: Case
    alone: bool
    round: Round | None = None
    waiting: set[int] = field(default_factory=set)


_Inbox: TypeAlias = "queue.SimpleQueue[tuple[_Busy, RoundEvent] | None]"


class Series:
    """Run once. ``listener`` is called on the thread that runs.

    An answer whose worker died is drawn once more, with nothing beside it: whichever it was that ended the worker can
    then do so again only to itself.
    """

    def __init__(self, comparison: Comparison, cases: Sequence[Case], listener: Callable[[Progress], None]) -> None:
        self.progress = Progress()
        self._comparison = comparison
        self._cases = cases
        self._listener = listener
        self._cancelled = False
        self._inbox: _Inbox = queue.SimpleQueue()

    def cancel(self) -> None:
        """Begin no further case, and stop those under way. May be called from a signal handler: takes no lock."""
        self._cancelled = True
        self._comparison.cancel_loading()
        self._inbox.put(None)

    def run(self) -> bool:
        """Draw every answer that is not in the record; return False when cancelled.

        Raises LmlabError when it cannot go on: a model that does not load, a record that cannot be written.
        """
        comparison = self._comparison
        if not self.missing:
            self._count_found()
            return not self._cancelled
        if not comparison.sequential:
            if not comparison.open():
                return False
            self._draw(comparison.contenders)
        else:
            if not comparison.check_loads():
                return False
            for worker in range(comparison.workers):
                mine = tuple(one for one in comparison.contenders if one.worker == worker)
                if self._cancelled:
                    return False
                if not self._missing(mine):
                    continue
                if not comparison.open(worker):
                    return False
                self._draw(mine)
                comparison.shut()
        comparison.shut()
        self._count_found()
        return not self._cancelled

    def _missing(self, contenders: Sequence[Contender]) -> bool:
        """Whether any answer is to be drawn: where none is, no model need be loaded. A bad row stays one."""
        record = self._comparison.record
        return any(
            not record.is_done(case.key, one.run)
            and not (isinstance(case.row, BadRow) and record.answer(case.key, one.run))
            for case in self._cases
            for one in contenders
        )

    @property
    def missing(self) -> bool:
        return self._missing(self._comparison.contenders)

    def _count_found(self) -> None:
        contenders = self._comparison.contenders
        every = len(contenders) * len(self._cases)
        self.progress.found = every - self.progress.drawn - self.progress.failed
        self._listener(self.progress)

    def _draw(self, contenders: Sequence[Contender]) -> None:
        """Keep the workers of ``contenders`` full until all is drawn."""
        record = self._comparison.record
        weights = Counter[int]()
        slots: dict[int, int] = {}
        for one in contenders:
            weights[one.worker] += one.plan.candidates
            slots[one.worker] = _AHEAD * (one.info.layout.sequences if one.info else 1)
        busy: list[_Busy] = []
        load = Counter[int]()
        again: deque[tuple[Case, tuple[int, ...]]] = deque()
        todo = iter(self._cases)
        more = True
        while True:
            while more and not self._cancelled and not any(one.alone for one in busy):
                if busy and any(load[worker] + weights[worker] > slots[worker] for worker in weights):
                    break
                case = next(todo, None)
                if case is None:
                    more = False
                    break
                only = tuple(one.index for one in contenders if not record.is_done(case.key, one.run))
                if only:
                    self._begin(busy, load, case, only, alone=False)
            if not busy and again and not self._cancelled:
                self._begin(busy, load, *again.popleft(), alone=True)
            if not busy:
                return
            for crashed in self._take(busy, load):
                again.append(crashed)

    def _begin(self, busy: list[_Busy], load: Counter[int], case: Case, only: tuple[int, ...], *, alone: bool) -> None:
        one = _Busy(case, alone, waiting=set(only))
        busy.append(one)
        for index in only:
            load[self._comparison.contenders[index].worker] += self._comparison.contenders[index].plan.candidates
        one.round = self._comparison.begin(case, lambda event: self._inbox.put((one, event)), stream=False, only=only)

    def _take(self, busy: list[_Busy], load: Counter[int]) -> list[tuple[Case, tuple[int, ...]]]:
        """Wait for one thing to happen; return what is to be drawn again."""
        try:
            item = self._inbox.get(timeout=_WAIT_S)
        except queue.Empty:
            return []
        if item is None:
            for one in busy:
                if one.round is not None:
                    one.round.cancel()
            return []
        one, event = item
        if isinstance(event, NotKept):
            raise event.error
        if not isinstance(event, Answered):
            return []
        contender = self._comparison.contenders[event.variant]
        load[contender.worker] -= contender.plan.candidates
        one.waiting.discard(event.variant)
        if not one.waiting:
            busy.remove(one)
        return self._account(one, event)

    def _account(self, one: _Busy, event: Answered) -> list[tuple[Case, tuple[int, ...]]]:
        answer, failure = event.answer, event.failure
        if answer.reason == "cancelled":
            return []
        if isinstance(failure, EngineStopped) and not one.alone and not self._cancelled:
            return [(one.case, (answer.variant,))]
        if isinstance(failure, ModelError | UsageError) and not isinstance(one.case.row, BadRow):
            # Not this case's own: the model does not load again, or no reply can be as is asked.
            raise failure
        if failure is not None:
            self.progress.failed += 1
            self.progress.first_failure = self.progress.first_failure or f"{answer.label}: {failure}"
        else:
            self.progress.drawn += 1
            self.progress.tokens += answer.drawn
        self._listener(self.progress)
        return []
