"""What a person sees of a tuning: what is being measured, each decision as it falls, and what came of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from lmlab.cli.measuring_screen import MeasuringScreen
from lmlab.cli.streams import Stdout

if TYPE_CHECKING:
    from lmlab.lab.divergence import Divergence
    from lmlab.lab.tuning.saved import Tuned
    from lmlab.lab.tuning.search import Step
    from lmlab.lab.tuning.tune import Tuning


class TuneScreen(MeasuringScreen):
    def __init__(self, quiet: bool, as_json: bool) -> None:
        super().__init__("tune", quiet)
        self._as_json = as_json

    def watch(self, what: str, fraction: float) -> None:
        """Show that ``what`` is being done, and how much of its time or work is behind."""
        self.doing(what, fraction, 1.0, f", {fraction:.0%}")

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
