"""What a person sees while a bench runs: what is measured, and how long that takes; and afterwards what to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab.cli.measuring_screen import MeasuringScreen
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmlab.lab.bench.against import Comparison
    from lmlab.lab.bench.bench import Doing
    from lmlab.lab.bench.report import Report
    from lmlab.lab.bench.subject import Subject


class BenchScreen(MeasuringScreen):
    def __init__(self, quiet: bool) -> None:
        super().__init__("bench", quiet)

    def about_models(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            if subject.model.notice:
                self.say(subject.model.notice)

    def show(self, doing: Doing) -> None:
        """Say what is about to be measured."""
        from lmlab.cli.bench_words import name

        what = "loading" if doing.key is None else name(doing.key)
        text = f"{one_line(doing.label, 24)}: {what}" + (f", round {doing.turn + 1}" if doing.key is not None else "")
        whole = None if doing.left_s is None else doing.elapsed_s + doing.left_s
        left = "" if doing.left_s is None else f", about {doing.left_s:.0f} s left"
        # A total that changed would make the bar forget how fast it went.
        self.doing(text, doing.elapsed_s / whole if whole else 0.0, 1.0 if whole else None, left)

    def about(self, found: Report, comparison: Comparison | None) -> None:
        """Say what a reader of the figures should know, and where they are kept."""
        if not found.complete:
            self.say("it ended early: some figures are of fewer runs, or not there")
        for result in found.results:
            for note in result.notes:
                self.say(f"{result.label}: {note}")
        if comparison is not None:
            for note in comparison.notes:
                self.say(f"against {comparison.before.id}: {note}")
        self.say(f"kept as {found.id}: lmlab bench --against {found.id} compares with it")
