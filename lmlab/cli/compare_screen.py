"""What a person sees of a comparison that nobody votes in: progress on stderr, and where things are in the end."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

from lmlab.backends import Loading, Ready, Stopped
from lmlab.cli import notices, report
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout, is_terminal
from lmlab.models import Progress
from lmlab.sampling import DEFAULTS
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.lab.batch.plan import Plan
    from lmlab.lab.compare.record import Record
    from lmlab.lab.compare.study import Drawn, StudyEvent
    from lmlab.lab.compare.workers import Opening

# Where nobody watches, a line now and then shows in a log that it goes on.
_LINE_EVERY_S = 30.0
_PAINT_EVERY_S = 0.2


class CompareScreen:
    """Bars on a terminal, lines elsewhere; with ``quiet`` neither, and no notices."""

    def __init__(self, quiet: bool) -> None:
        self.stdout = Stdout()
        self._quiet = quiet
        # A worker that dies says so on its own thread.
        self._lock = threading.RLock()
        self._bars = Bars(quiet)
        self._notices = report.Notices(quiet)
        self._plans: tuple[Plan, ...] = ()
        self._begun = self._told = time.monotonic()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.clear()

    def fetching(self, progress: Progress) -> None:
        self._bars.update(progress.label, progress.done, progress.total, size=True, patience=0)

    def about_plans(self, plans: tuple[Plan, ...], repeats: int) -> None:
        self._plans = plans
        greedy = []
        for plan in plans:
            if plan.model.notice:
                self.say(plan.model.notice)
            if not plan.chat and plan.task.renderer is None:
                self.say(notices.about_base_model(plan.model))
            sampling = plan.asked.merge(plan.model.header.recommended).merge(DEFAULTS)
            for line in notices.about_sampling(plan.asked, sampling):
                self.say(f"{plan.label}: {line}")
            if sampling.temperature == 0:
                greedy.append(plan.label)
        if greedy and repeats > 1:
            from lmlab.lab.compare.tables import repeats_alike

            self.say(repeats_alike(greedy, repeats))

    def about_record(self, record: Record) -> None:
        if record.note:
            self.say(record.note)

    def opening(self, opening: Opening) -> None:
        """May be called on a worker's thread."""
        with self._lock:
            self._opening(opening)

    def _opening(self, opening: Opening) -> None:
        plans = [self._plans[variant] for variant in opening.variants]
        name = ", ".join(plan.label for plan in plans)
        match opening.status:
            case Loading(fraction):
                self._bars.update(f"loading {one_line(name, 40)}", fraction, 1)
            case Ready(info):
                for line in notices.about_load(plans[0].load, info):
                    self.say(f"{name}: {line}")
            case Stopped(error):
                self.say(f"{name}: {error}")

    def show(self, event: StudyEvent) -> None:
        with self._lock:
            self._show(event)

    def _show(self, event: StudyEvent) -> None:
        from lmlab.lab.compare.study import Diverging, Drawn, Weighing

        match event:
            case Drawn():
                self._drawn(event)
            case Weighing(what, done, total):
                self._bars.update(what, done, total)
            case Diverging(names, told):
                figures = getattr(told, "figures", None)
                if figures is not None:
                    self._bars.update(f"divergence of {names}", figures.windows, figures.planned)

    def say(self, text: str) -> None:
        with self._lock:
            self._bars.clear()
            self._notices.say(text)

    def _drawn(self, event: Drawn) -> None:
        now = time.monotonic()
        on_terminal = is_terminal(sys.stderr)
        if self._quiet or now - self._told < (_PAINT_EVERY_S if on_terminal else _LINE_EVERY_S):
            return
        self._told = now
        progress = event.progress
        rate = progress.tokens / max(now - self._begun, 1e-9)
        text = f"{progress.drawn:,} of {event.total - progress.found:,} answers · {rate:,.0f} tok/s"
        text += f" · {progress.failed:,} failed" if progress.failed else ""
        if on_terminal:
            self._bars.update_text("compare", text, progress.drawn + progress.failed, event.total)
        else:
            report.write_line(f"lmlab: {text}")
