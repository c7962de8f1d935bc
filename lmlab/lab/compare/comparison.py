"""Variants, their workers, and what is kept of their answers: what a screen and a report both work with.

Knows nothing of where prompts come from or of how anything is shown.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.errors import LmlabError, UsageError
from lmlab.lab.batch.plan import Plan
from lmlab.lab.best_of import open_selector
from lmlab.lab.compare.answer import Answer, answer_of
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.contender import Contender
from lmlab.lab.compare.record import Record, Vote, VoteKind
from lmlab.lab.compare.round import Answered, NotKept, Round, RoundEvent
from lmlab.lab.compare.standing import standing_of
from lmlab.lab.compare.workers import Opening, Workers, number_workers
from lmlab.lab.selector_models import SelectorModels
from lmlab.lab.statistics import WinRate
from lmlab.models import ModelFile


class Comparison:
    """``plans`` are the columns. ``open`` before ``begin``; close it when done, which leaves ``record`` open.

    ``listener`` hears of loading, crashes and new beginnings. It and those of rounds are called on the workers' threads,
    one event at a time. ``sequential``: only the workers asked for are open, and each has all cores.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        *,
        record: Record,
        opener: Callable[[LoadSpec, StatusSink], Backend],
        resolve: Callable[[str], ModelFile],
        template_folder: Path | None,
        listener: Callable[[Opening], None] = lambda opening: None,
        sequential: bool = False,
    ) -> None:
        numbers = number_workers([plan.load for plan in plans])
        self.contenders = tuple(
            Contender(index, plan, plan.fingerprint(), number)
            for index, (plan, number) in enumerate(zip(plans, numbers, strict=True))
        )
        self.record = record
        self.sequential = sequential
        self._resolve = resolve
        self._opener = opener
        self._template_folder = template_folder
        self._lock = threading.RLock()
        self._rounds: set[Round] = set()
        self._names = itertools.count(1)
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="lmlab-select")
        self._opened = ExitStack()
        self._workers = Workers(self.contenders, opener=opener, listener=listener, at_once=not sequential)

    @property
    def workers(self) -> int:
        """How many there are: variants that are loaded alike share one."""
        return self._workers.count

    def open(self, worker: int | None = None) -> bool:
        """Load every worker, or one of them; return False when ``cancel`` came first.

        Raises LmlabError that says of every variant that cannot be loaded why; none is open then.
        """
        if worker is None:
            opened = self._workers.open_all()
        else:
            opened = self._workers.open(worker) is not None
        if opened:
            try:
                self._open_selectors()
            except BaseException:
                self.shut()
                raise
        return opened

    def check_loads(self) -> bool:
        """Load every worker once, one at a time, and close it again. As ``open`` otherwise."""
        return self._workers.check_each()

    def shut(self) -> None:
        """Close what ``open`` opened; it can be opened again."""
        self._opened.close()
        for one in self.contenders:
            one.selector = None
        self._workers.close()

    def begin(
        self,
        case: Case,
        listener: Callable[[RoundEvent], None],
        *,
        stream: bool = True,
        only: Sequence[int] | None = None,
    ) -> Round:
        """Put ``case`` to all variants, or to ``only`` these columns, and return at once. Answers are recorded as they end.

        One that is stopped is recorded where it is streamed: who watched it come may vote on it.
        """

        def hear(event: RoundEvent) -> None:
            if isinstance(event, Answered) and (stream or event.answer.reason != "cancelled"):
                try:
                    self.record.add_answer(event.line)
                except LmlabError as error:
                    listener(NotKept(error))
            listener(event)

        # Who comes first waits less and decodes what the others then share: no variant is always the one.
        first = int(case.key[:8], 16) % len(self.contenders)
        turned = (*self.contenders[first:], *self.contenders[:first])
        asked = [one for one in turned if only is None or one.index in only]
        number = next(self._names)
        begun = Round(case, asked, name=f"case-{number}", listener=hear, pool=self._pool, lock=self._lock)
        with self._lock:
            self._rounds = {earlier for earlier in self._rounds if not earlier.over} | {begun}
        begun.begin(stream=stream)
        return begun

    def answered(self, case: Case) -> tuple[Answer | None, ...]:
        """Return what the record has of a case for each column, a failure too."""
        with self._lock:
            lines = [self.record.answer(case.key, one.run) for one in self.contenders]
        return tuple(None if line is None else answer_of(line, index) for index, line in enumerate(lines))

    def order(self, case: Case) -> tuple[int, ...]:
        """Return the columns as a blind round shows them: shuffled, for the same case always alike."""
        shuffled = list(range(len(self.contenders)))
        random.Random(f"{case.key}:{','.join(sorted(one.run for one in self.contenders))}").shuffle(shuffled)
        return tuple(shuffled)

    def vote(
        self,
        case: Case,
        kind: VoteKind,
        winner: int | None = None,
        *,
        order: Sequence[int] = (),
        blind: bool = False,
    ) -> Vote:
        """Keep what a person said of a case; it is on disk when this returns. An earlier vote on it no longer counts."""
        if (kind == "win") != (winner is not None):
            raise UsageError("a vote is for one of the variants, or a tie, or says that all are bad")
        runs = tuple(one.run for one in self.contenders)
        vote = Vote(
            case.key,
            case.question,
            case.repeat,
            runs,
            kind,
            None if winner is None else runs[winner],
            tuple(runs[index] for index in order or range(len(runs))),
            blind,
            now(),
        )
        with self._lock:
            self.record.add(vote)
        return vote

    @property
    def votes(self) -> tuple[Vote, ...]:
        """All that are in the record, of earlier commands too, one a case."""
        with self._lock:
            return tuple(self.record.votes.values())

    def standing(self, first: int, second: int) -> WinRate:
        """Return how the votes stand between two columns, each prompt counting once."""
        return standing_of(self.votes, self.contenders[first].run, self.contenders[second].run)

    def cancel(self) -> None:
        """Stop whatever is under way. May be called from any thread, but from a signal handler use ``cancel_loading``."""
        self.cancel_loading()
        with self._lock:
            rounds = tuple(self._rounds)
        for one in rounds:
            one.cancel()

    def cancel_loading(self) -> None:
        """Wait for no model that is loading. Takes no lock."""
        self._workers.cancel()

    def close(self) -> None:
        """End the workers. Rounds under way end with errors."""
        self.shut()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _open_selectors(self) -> None:
        """Open what chooses among the candidates of those variants that draw several and are open."""
        for one in self.contenders:
            if one.plan.selector is None or one.backend is None or one.selector is not None:
                continue
            models = SelectorModels(one.plan.load, resolve=self._resolve, opener=self._opener)
            self._opened.callback(models.close)
            one.selector = open_selector(
                one.plan.selector, own=one.backend, open_model=models.open, template_folder=self._template_folder
            )
            self._opened.callback(one.selector.close)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
