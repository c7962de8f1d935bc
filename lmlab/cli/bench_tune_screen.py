"""What a person sees of a tuning: what is being measured, each decision as it falls, and what came of it."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from lmlab.cli import report
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout, is_terminal
from lmlab.models import Progress

if TYPE_CHECKING:
    from lmlab.lab.divergence import Divergence
    from lmlab.lab.tuning.saved import Tuned
    from lmlab.lab.tuning.search import Step
    from lmlab.lab.tuning.tune import Tuning

# Where nobody watches, a line now and then shows in a log that it goes on.
_LINE_EVERY_S = 30.0


class TuneScreen:
    """A bar on a terminal, lines elsewhere; with ``quiet`` neither, and no notices."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._bars = Bars(quiet)
        self._notices = report.Notices(quiet)
        self._told = time.monotonic()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.clear()

    def say(self, text: str) -> None:
        self._bars.clear()
        self._notices.say(text)

    def fetching(self, progress: Progress) -> None:
        self._bars.update(progress.label, progress.done, progress.total, size=True, patience=0)

    def watch(self, what: str, fraction: float) -> None:
        """Show that ``what`` is being done, and how much of its time or work is behind."""
        if is_terminal(sys.stderr):
            self._bars.update_text("tune", what, fraction, 1.0)
            return
        now = time.monotonic()
        if not self._quiet and now - self._told >= _LINE_EVERY_S:
            self._told = now
            report.write_line(f"lmlab: {what}, {fraction:.0%}")

    def step(self, step: Step) -> None:
        """Show a decision."""
        from lmlab.cli.bench_tune_table import outcome

        self.say(f"{step.name}: {outcome(step)}")
        for name, why in step.failed:
            self.say(f"{step.name} {name} was left out: {why}")

    def result(self, ref: str, tuning: Tuning, tuned: Tuned | None, cost: Divergence | None) -> None:
        """Print what came of it."""
        from dataclasses import asdict

        from lmlab.cli import bench_tune_table as table

        self._bars.clear()
        stdout = Stdout()
        if self._as_json:
            kept = None if tuned is None else asdict(tuned)
            stdout.json({"ref": ref, "tuned": kept, **table.as_dict(tuning, cost)})
        elif stdout.terminal:
            stdout.write(table.text(tuning, cost, shutil.get_terminal_size().columns))
        else:
            stdout.write(table.tab_separated(tuning.steps))
            for line in table.costs(cost):
                self.say(line)
