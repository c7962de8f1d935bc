"""A batch from its rows to its lines: what is done is passed over, the rest answered, one loaded model after another.

Knows nothing of stdout, stderr or how progress is shown.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeAlias

from lmlab.backends import Backend, Loading, LoadSpec, Ready, Status, StatusSink, Stopped
from lmlab.errors import LmlabError
from lmlab.lab.batch.keys import content_key, row_content
from lmlab.lab.batch.lane import Arrived, Inbox, Lane, Outcome, await_ready
from lmlab.lab.batch.line_order import LineOrder
from lmlab.lab.batch.output import Known, Output
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.row_feed import RowFeed
from lmlab.lab.batch.summary import Summary, Tally
from lmlab.lab.batch.training import Keep, passed, training_row
from lmlab.lab.batch.work import Work
from lmlab.lab.best_of import Choice, Selector, open_selector
from lmlab.lab.result import Source
from lmlab.lab.selector_models import SelectorModels
from lmlab.models import ModelFile
from lmlab.store.row_index import GROUP, RowIndex

# Rows that may wait for an earlier one's line before no further is begun.
_HELD = 1000


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model of these plans answers from now on."""

    plans: tuple[Plan, ...]
    ready: Ready


@dataclass(frozen=True, slots=True)
class Advanced:
    """The summary has changed."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row, by its number from 1, gives no line in the output."""

    number: int
    why: str


BatchEvent: TypeAlias = Loading | Stopped | Loaded | Advanced | LeftOut


class _Keyed(NamedTuple):
    """A row for a run: its number among all of these, and the row's key in the run."""

    number: int
    row: Row | BadRow
    run: str
    key: str


class BatchRun:
    """Run once. ``rows`` gives the input from its beginning each time; ``output`` stays open. ``at_once``: all rows are
    there, none has to be waited for.

    ``plans`` that are loaded alike share one worker, those after them wait until it is done. ``listener`` is called on
    the thread that runs, ``resolve`` finds the models that selectors name.
    """

    def __init__(
        self,
        plans: tuple[Plan, ...],
        *,
        rows: Callable[[], Iterable[Row | BadRow]],
        output: Output,
        opener: Callable[[LoadSpec, StatusSink], Backend],
        resolve: Callable[[str], ModelFile],
        listener: Callable[[BatchEvent], None],
        ordered: bool = False,
        retries: int = 1,
        at_once: bool = False,
        template_folder: Path | None = None,
    ) -> None:
        self.summary = Summary({plan.label: Tally() for plan in plans})
        self._runs = {plan.fingerprint(): plan for plan in plans}
        self._rows = rows
        self._output = output
        self._opener = opener
        self._resolve = resolve
        self._listener = listener
        self._ordered = ordered
        self._retries = retries
        self._at_once = at_once
        self._together = 1
        self._template_folder = template_folder
        self._cancelled = False
        self._inbox: Inbox = queue.SimpleQueue()
        self._order = LineOrder(ordered)
        self._source: Source | None = None
        self._mixed = False

    def cancel(self) -> None:
        """Begin no further row, and end once those under way are done. May be called from a signal handler."""
        self._cancelled = True
        self._inbox.put(None)

    def run(self) -> Summary:
        """Answer every row that is not done. Raises LmlabError when the run cannot go on; what is written stays."""
        begun = time.perf_counter()
        groups = _loaded_alike(self._runs)
        try:
            for runs in groups:
                if not self._cancelled:
                    self._run_group(runs)
        finally:
            self.summary.seconds = time.perf_counter() - begun
        self.summary.interrupted = self._cancelled
        if self._ordered and not self._cancelled and (len(groups) > 1 or self._mixed):
            self._output.reorder(one.key for group in self._keys(tuple(self._runs), self._rows()) for one in group)
        return self.summary

    def _run_group(self, runs: tuple[str, ...]) -> None:
        self._order = LineOrder(self._ordered)
        self._inbox = queue.SimpleQueue()
        with ExitStack() as stack:
            feed = None if self._at_once else self._feed(stack)
            works = self._works(runs, feed or self._rows())
            # Where all is done no model is loaded.
            first = next(works, None)
            if feed is not None:
                feed.waits = False
            if first is not None:
                self._answer(runs, chain((first,), works), stack)
        self._order.flush()

    def _feed(self, stack: ExitStack) -> RowFeed:
        inbox = self._inbox
        feed = RowFeed(self._rows(), lambda: inbox.put(Arrived()), lambda: self._cancelled)
        stack.callback(feed.close)
        return feed

    def _answer(self, runs: tuple[str, ...], works: Iterator[Work | None], stack: ExitStack) -> None:
        plans = tuple(self._runs[run] for run in runs)
        load = plans[0].load
        pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="lmlab-select")
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        backend = self._opener(load, self._inbox.put)
        stack.callback(backend.close)
        if self._cancelled:
            # Perhaps into the inbox of the models before.
            return
        ready = await_ready(backend, self._inbox, self._heard)
        if ready is None:
            return
        self._source = Source(plans[0].model, ready.info)
        self._listener(Loaded(plans, ready))
        models = SelectorModels(load, resolve=self._resolve, opener=self._opener)
        stack.callback(models.close)
        selectors: dict[str, Selector] = {}
        for run in runs:
            spec = self._runs[run].selector
            if spec is not None:
                selectors[run] = open_selector(
                    spec, own=backend, open_model=models.open, template_folder=self._template_folder
                )
                stack.callback(selectors[run].close)
        Lane(
            backend,
            slots=ready.info.layout.sequences,
            selectors=selectors,
            pool=pool,
            retries=self._retries,
            inbox=self._inbox,
            listener=self._heard,
            done=self._done,
            ready=lambda: self._order.held < _HELD,
        ).run(works)

    def _heard(self, status: Status) -> None:
        if not isinstance(status, Ready):
            self._listener(status)

    # Rows

    def _keys(self, runs: tuple[str, ...], rows: Iterable[Row | BadRow | None]) -> Iterator[list[_Keyed]]:
        """Return each row for each run, in groups of at most ``_together`` of them; an empty one where none is there yet."""
        number = 0
        coming = iter(rows)
        with closing(RowIndex()) as seen:
            while taken := list(islice(coming, max(1, self._together // len(runs)))):
                group = [row for row in taken if row is not None]
                if group:
                    self.summary.position = group[-1].position
                contents = [row_content(row) for row in group]
                keyed = []
                for row, content, occurrence in zip(group, contents, seen.occurrences(contents), strict=True):
                    for run in runs:
                        keyed.append(_Keyed(number, row, run, content_key(run, content, occurrence)))
                        number += 1
                yield keyed

    def _works(self, runs: tuple[str, ...], rows: Iterable[Row | BadRow | None]) -> Iterator[Work | None]:
        last = -1
        self._together = 1
        for keyed in self._keys(runs, rows):
            if not keyed:
                yield None
            found = self._known_of(keyed)
            for (number, row, run, key), known in zip(keyed, found, strict=True):
                if self._cancelled:
                    return
                if known.state == "done":
                    self._pass_over(self.summary.tally(self._runs[run].label), known)
                    self._order.put(number, None)
                    if known.place is not None:
                        self._mixed = self._mixed or known.place < last
                        last = known.place
                else:
                    # What is written now goes behind all that is there.
                    last = sys.maxsize
                    yield Work(number, key, row, self._runs[run], run)
            # A row that is to be answered must not wait for those behind it, which a stream may bring much later.
            all_done = self._at_once and all(known.state == "done" for known in found)
            self._together = min(2 * self._together, GROUP) if all_done else 1

    def _known_of(self, keyed: list[_Keyed]) -> list[Known]:
        """Return what the output knows of each; one row for many runs may be more than can be asked at once."""
        keys = [one.key for one in keyed]
        return [
            known for start in range(0, len(keys), GROUP) for known in self._output.find(keys[start : start + GROUP])
        ]

    def _pass_over(self, tally: Tally, known: Known) -> None:
        tally.skipped += 1
        if known.correct is not None:
            tally.checked += 1
            tally.correct += known.correct

    # Lines

    def _done(self, work: Work, outcome: Outcome) -> None:
        if isinstance(outcome, LmlabError):
            self._order.put(work.number, lambda: self._write_failure(work, outcome))
        else:
            self._order.put(work.number, lambda: self._write(work, outcome))

    def _write_failure(self, work: Work, error: LmlabError) -> None:
        record = work.failed(error)
        # Training data is read whole by trainers: a line without an answer would be an example of nothing.
        if work.plan.keep:
            self._output.skip(work.key, record)
            self._listener(LeftOut(work.row.number, str(error)))
        else:
            self._output.write(work.key, record)
        tally = self.summary.tally(work.plan.label)
        tally.rows += 1
        tally.failed += 1
        if self.summary.first_failure is None:
            self.summary.first_failure = str(error)
        self._listener(Advanced())

    def _write(self, work: Work, choice: Choice) -> None:
        if self._source is None:
            raise ValueError("a row is answered before a model was loaded")
        tally = self.summary.tally(work.plan.label)
        if work.plan.keep is None:
            self._output.write(work.key, work.result(choice, self._source))
        elif not self._write_training_row(work.plan.keep, work, choice):
            tally.left_out += 1
        self._count(tally, work, choice)
        self._listener(Advanced())

    def _write_training_row(self, keep: Keep, work: Work, choice: Choice) -> bool:
        """Return whether there was a row to write; why there is none is written beside the output."""
        spec, put = work.plan.selector, work.put
        if spec is None or put is None:
            raise ValueError("training data without a selector")
        correct = {one.index: bool(work.correct(one.answer)) for one in choice.candidates} if work.expected else {}
        row = training_row(keep, put.prompt, choice, spec, correct)
        head = work.head()
        if choice.selected in correct:
            head["correct"] = correct[choice.selected]
        if isinstance(row, str):
            self._output.skip(work.key, {**head, "left_out": row})
            self._listener(LeftOut(work.row.number, row))
            return False
        self._output.write(work.key, {**head, **row})
        return True

    def _count(self, tally: Tally, work: Work, choice: Choice) -> None:
        self.summary.answered_at = time.perf_counter()
        tally.rows += 1
        tally.candidates += len(choice.candidates)
        tally.saved += choice.saved
        if work.gather is not None and work.gather.finished is not None:
            usage = work.gather.finished.usage
            tally.prompt_tokens += usage.prompt_tokens
            tally.cached_tokens += usage.cached_tokens
            tally.completion_tokens += usage.completion_tokens
        spec = work.plan.selector
        if spec is not None and not passed(spec, choice.best):
            tally.unpassed += 1
            if self.summary.first_unpassed is None:
                self.summary.first_unpassed = choice.best.note or choice.why
        correct = work.correct(choice.best.answer)
        if correct is not None:
            tally.checked += 1
            tally.correct += correct
            tally.no_answer += choice.best.answer is None


def _loaded_alike(runs: dict[str, Plan]) -> list[tuple[str, ...]]:
    """Return the runs in groups that one loaded model serves, in the order of their first."""
    groups: dict[LoadSpec, list[str]] = {}
    for run, plan in runs.items():
        groups.setdefault(plan.load, []).append(run)
    return [tuple(group) for group in groups.values()]
