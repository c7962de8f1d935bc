"""A person before a comparison: one case at a time, put on a thread of its own so that a screen never waits.

Knows nothing of screens; what happens is told to a listener.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lmlab.errors import LmlabError
from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.comparison import Comparison
from lmlab.lab.compare.round import Answered, Choosing, NotKept, Over, Round, RoundEvent, Said
from lmlab.lab.compare.workers import Opening


@dataclass(frozen=True, slots=True)
class Opened:
    """Every variant can answer."""


@dataclass(frozen=True, slots=True)
class NotOpened:
    """Some variant cannot be loaded, and none is open."""

    error: LmlabError


@dataclass(frozen=True, slots=True)
class CaseOver:
    """All answers to the case are in that will come."""


SittingEvent: TypeAlias = Opening | Opened | NotOpened | Said | Choosing | Answered | NotKept | CaseOver


class Sitting:
    """``open`` once, then ``put`` one case after another, each once the one before is over; ``close`` at the end.

    ``listener`` is called on other threads, one event at a time of each worker. Of variants that are not open together
    each case is put to one worker after another, in the order that ``put`` is given.
    """

    def __init__(
        self, make: Callable[[Callable[[Opening], None]], Comparison], listener: Callable[[SittingEvent], None]
    ):
        self.comparison = make(listener)
        self._listener = listener
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._round: Round | None = None
        self._stopped = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="lmlab-compare", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Load what is needed; Opened or NotOpened follows."""
        self._work.put(self._open)

    def kept(self, case: Case) -> tuple[Answer | None, ...]:
        """Return what the record has of a case for each column; what failed is not among it."""
        answered = self.comparison.answered(case)
        return tuple(None if one is None or one.error is not None else one for one in answered)

    def put(self, case: Case, columns: Sequence[int]) -> None:
        """Have these variants answer; CaseOver follows."""
        with self._lock:
            self._stopped = False
        self._work.put(lambda: self._put(case, columns))

    def stop(self) -> None:
        """End the answers under way; what has come of them stays."""
        with self._lock:
            self._stopped = True
            under_way = self._round
        if under_way is not None:
            under_way.cancel()

    def close(self) -> None:
        """End everything, the workers too."""
        self.stop()
        self.comparison.cancel()
        self._work.put(None)
        self._thread.join()
        self.comparison.close()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _open(self) -> None:
        try:
            # One after the other they are loaded for each case; here it is only seen that each can be.
            opened = self.comparison.check_loads() if self.comparison.sequential else self.comparison.open()
        except LmlabError as error:
            self._listener(NotOpened(error))
        else:
            if opened:
                self._listener(Opened())

    def _put(self, case: Case, columns: Sequence[int]) -> None:
        if not self.comparison.sequential:
            self._ask(case, columns)
        else:
            asked = [self.comparison.contenders[index] for index in columns]
            for worker in dict.fromkeys(one.worker for one in asked):
                self._ask_alone(case, worker, [one.index for one in asked if one.worker == worker])
        self._listener(CaseOver())

    def _ask_alone(self, case: Case, worker: int, columns: Sequence[int]) -> None:
        with self._lock:
            if self._stopped:
                return
        try:
            if self.comparison.open(worker):
                self._ask(case, columns)
        except LmlabError as error:
            self._listener(NotOpened(error))
        finally:
            self.comparison.shut()

    def _ask(self, case: Case, columns: Sequence[int]) -> None:
        with self._lock:
            if self._stopped or not columns:
                return
            self._round = self.comparison.begin(case, self._hear, only=columns)
        self._round.wait()
        with self._lock:
            self._round = None

    def _hear(self, event: RoundEvent) -> None:
        if not isinstance(event, Over):
            self._listener(event)
