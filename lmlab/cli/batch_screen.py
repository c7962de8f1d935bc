"""What a person sees of a batch: progress while it runs, and what came of it. Lines go to stdout or a file, this to stderr."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from lmlab.backends import Loading, Stopped
from lmlab.cli import notices, report
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout, is_terminal
from lmlab.models import Progress
from lmlab.sampling import DEFAULTS
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.lab.batch.dry_run import DryEvent, Estimate
    from lmlab.lab.batch.output import Output
    from lmlab.lab.batch.plan import Plan
    from lmlab.lab.batch.runner import BatchEvent, BatchRun
    from lmlab.lab.batch.summary import Summary, Tally

# Where nobody watches, a line now and then shows in a log that it goes on.
_LINE_EVERY_S = 30.0
_PAINT_EVERY_S = 0.2


class BatchScreen:
    """Bars on a terminal, lines elsewhere; with ``quiet`` neither, and no notices. ``rows``: as many are done at most."""

    def __init__(self, quiet: bool, as_json: bool, rows: int | None = None) -> None:
        self.stdout = Stdout()
        self._quiet = quiet
        self._as_json = as_json
        self._rows = rows
        self._bars = Bars(quiet)
        self._notices = report.Notices(quiet)
        self._begun = time.monotonic()
        self._streams = False
        self._first: int | None = None
        self._told = self._begun

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.clear()

    def fetching(self, progress: Progress) -> None:
        self._bars.update(progress.label, progress.done, progress.total, size=True, patience=0)

    def about_plans(self, plans: tuple[Plan, ...]) -> None:
        for plan in plans:
            if plan.model.notice:
                self.say(plan.model.notice)
            sampling = plan.asked.merge(plan.model.header.recommended).merge(DEFAULTS)
            for line in notices.about_sampling(plan.asked, sampling):
                self.say(f"{plan.label}: {line}")
            if plan.candidates > 1 and sampling.temperature == 0:
                self.say(f"{plan.label}: at temperature 0 all {plan.candidates} candidates are the same")

    def about_output(self, output: Output) -> None:
        self._streams = not output.lasting
        for note in output.notes:
            self.say(note)
        if output.done or output.failed:
            failed = f", {output.failed:,} that failed are tried again" if output.failed else ""
            self.say(f"{output.name} has {output.done:,} rows done: going on{failed}")

    def show(self, event: BatchEvent, run: BatchRun, size: int | None) -> None:
        from lmlab.lab.batch.runner import Advanced, LeftOut, Loaded

        match event:
            case Loading(fraction):
                self._bars.update("loading the model", fraction, 1)
            case Stopped(error):
                self.say(f"{error}; it is started again")
            case Loaded(plans, ready):
                self._bars.clear()
                for line in notices.about_load(plans[0].load, ready.info):
                    self.say(line)
                self._begun = self._told = time.monotonic()
                self._first = run.summary.position
            case Advanced():
                self._advance(run.summary, size)
            case LeftOut(number, why):
                # Beside a file they are written down; a stream has no such place.
                if self._streams:
                    self.say(f"row {number:,} gives no training row: {why}")

    def conclude(self, summary: Summary, output: str | None, all_rows: bool, expect: str | None) -> None:
        """Say what came of it; ``all_rows``: of the whole input. ``expect`` is the column that --expect names."""
        self._bars.clear()
        if self._as_json:
            self._print_json(summary.to_dict(), output is not None)
        for label, tally in summary.variants.items():
            name = f"{one_line(label, 60)}: " if len(summary.variants) > 1 else ""
            self.say(name + _outcome(tally))
            if line := _accuracy(tally):
                self.say(name + line)
        total = summary.total
        if summary.first_unpassed is not None:
            self.say(f"{total.unpassed:,} rows have no candidate that passed; the first: {summary.first_unpassed}")
        if total.rows and not summary.interrupted:
            self.say(_speed(total, summary.seconds))
        if expect is not None and total.rows + total.skipped and not total.checked:
            self.say(f"no answer was checked: no row has an expected one in {expect}, which --expect names")
        if summary.interrupted:
            how = (
                "the same command goes on from here" if output is not None else "with -o FILE it could go on from here"
            )
            self.say(f"interrupted: {how}")
        if summary.first_failure is not None:
            where = f"; each line of {output} that failed has its error" if output is not None else ""
            self.say(f"the first failure: {summary.first_failure}{where}")
        if total.failed and output is not None and not summary.interrupted:
            self.say("the same command tries the failed rows again" + ("" if all_rows else ", of those chosen"))

    def show_dry(self, event: DryEvent, size: int | None) -> None:
        match event:
            case Loading(fraction):
                self._bars.update("loading the model", fraction, 1)
            case Stopped(error):
                self.say(str(error))
            case str(stage), int(done):
                self._bars.update(stage, done, size if stage == "counting tokens" else None)

    def conclude_dry(self, estimates: tuple[Estimate, ...]) -> None:
        self._bars.clear()
        if self._as_json:
            self._print_json({"variants": {one.label: one.to_dict() for one in estimates}}, True)
            return
        for one in estimates:
            for line in one.lines():
                report.write_line(f"lmlab: {one_line(one.label, 60)}: {line}")

    def _advance(self, summary: Summary, size: int | None) -> None:
        now = time.monotonic()
        on_terminal = is_terminal(sys.stderr)
        if self._quiet or now - self._told < (_PAINT_EVERY_S if on_terminal else _LINE_EVERY_S):
            return
        self._told = now
        text = _progress(summary.total, now - self._begun)
        if on_terminal:
            done, whole = self._extent(summary, size)
            self._bars.update_text("batch", text, done, whole)
        else:
            report.write_line(f"lmlab: {text}")

    def _extent(self, summary: Summary, size: int | None) -> tuple[int, int | None]:
        """Return how much of how much is done, since the model was loaded: rows where their number is known, else bytes."""
        if self._rows is not None:
            total, variants = summary.total, len(summary.variants)
            return total.rows, max(total.rows, self._rows * variants - total.skipped)
        begin = self._first or 0
        return summary.position - begin, None if size is None else size - begin

    def _print_json(self, value: dict[str, Any], free: bool) -> None:
        """Write to stdout when no rows go there, else to stderr."""
        if free:
            self.stdout.json(value)
        else:
            report.write_line(json.dumps(value))

    def say(self, text: str) -> None:
        self._bars.clear()
        self._notices.say(text)


def _progress(total: Tally, seconds: float) -> str:
    rate = 1 / seconds if seconds > 0 else 0.0
    parts = [
        _rows(total.rows),
        f"{total.rows * rate:.1f} rows/s",
        f"{total.completion_tokens * rate:,.0f} tok/s",
        f"{_share(total.cached_tokens, total.prompt_tokens)} cached",
    ]
    if total.failed:
        parts.append(f"{total.failed:,} failed")
    return " · ".join(parts)


def _outcome(tally: Tally) -> str:
    parts = [f"{_rows(tally.rows - tally.failed)} done"]
    if tally.skipped:
        parts.append(f"{tally.skipped:,} done before")
    if tally.left_out:
        parts.append(f"{tally.left_out:,} of them left out of the training data")
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    if tally.saved:
        parts.append(f"{tally.saved:,} of {tally.candidates:,} candidates saved by stopping early")
    return ", ".join(parts)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _accuracy(tally: Tally) -> str | None:
    if not tally.checked:
        return None
    values = tally.to_dict()
    low, high = 100 * values["accuracy_low"], 100 * values["accuracy_high"]
    line = f"{tally.correct:,} of {tally.checked:,} answers are as expected: {100 * values['accuracy']:.1f} %"
    earlier = " of this run" if tally.skipped else ""
    without = f"; no answer could be read off {tally.no_answer:,} replies{earlier}" if tally.no_answer else ""
    return f"{line} (95 % interval {low:.1f} to {high:.1f} %){without}"


def _speed(total: Tally, seconds: float) -> str:
    rate = 1 / seconds if seconds > 0 else 0.0
    return (
        f"{seconds:.1f} s, {total.rows * rate:.2f} rows/s, {total.completion_tokens * rate:,.0f} tokens/s; "
        f"{total.cached_tokens:,} of {total.prompt_tokens:,} prompt tokens reused "
        f"({_share(total.cached_tokens, total.prompt_tokens)})"
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
