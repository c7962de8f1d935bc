"""What a person sees while something is measured for minutes: a bar on a terminal, a line now and then elsewhere.

Knows nothing of what is measured.
"""

from __future__ import annotations

import sys
import time

from lmlab.cli import report
from lmlab.cli.progress import Bars
from lmlab.cli.streams import is_terminal
from lmlab.models import Progress

# Where nobody watches, a line now and then shows in a log that it goes on.
_LINE_EVERY_S = 30.0


class MeasuringScreen:
    """With ``quiet`` neither a bar nor lines, and no notices. ``name`` is what the bar is called."""

    def __init__(self, name: str, quiet: bool) -> None:
        self._name = name
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

    def doing(self, text: str, done: float, total: float | None, left: str) -> None:
        """Show ``text``; ``left`` is added to it where it is a line, which has no bar to tell how far it is."""
        if is_terminal(sys.stderr):
            self._bars.update_text(self._name, text, done, total)
            return
        now = time.monotonic()
        if not self._quiet and now - self._told >= _LINE_EVERY_S:
            self._told = now
            report.write_line(f"lmlab: {text}{left}")
