"""What a person sees while a bench runs: what is measured, and how long that takes; and afterwards what to know of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from lmlab.cli import report
from lmlab.cli.progress import Bars
from lmlab.cli.streams import is_terminal
from lmlab.models import Progress
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lmlab.lab.bench.against import Comparison
    from lmlab.lab.bench.bench import Doing
    from lmlab.lab.bench.report import Report
    from lmlab.lab.bench.subject import Subject

# Where nobody watches, a line now and then shows in a log that it goes on.
_LINE_EVERY_S = 30.0


class BenchScreen:
    """A bar on a terminal, lines elsewhere; with ``quiet`` neither, and no notices."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
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

    def about_models(self, subjects: Sequence[Subject]) -> None:
        for subject in subjects:
            if subject.model.notice:
                self.say(subject.model.notice)

    def show(self, doing: Doing) -> None:
        """Say what is about to be measured."""
        from lmlab.cli.bench_words import name

        what = "loading" if doing.key is None else name(doing.key)
        text = f"{one_line(doing.label, 24)}: {what}" + (f", round {doing.turn + 1}" if doing.key is not None else "")
        if is_terminal(sys.stderr):
            whole = None if doing.left_s is None else doing.elapsed_s + doing.left_s
            # A total that changed would make the bar forget how fast it went.
            self._bars.update_text("bench", text, doing.elapsed_s / whole if whole else 0.0, 1.0 if whole else None)
            return
        now = time.monotonic()
        if not self._quiet and now - self._told >= _LINE_EVERY_S:
            self._told = now
            left = "" if doing.left_s is None else f", about {doing.left_s:.0f} s left"
            report.write_line(f"lmlab: {text}{left}")

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
