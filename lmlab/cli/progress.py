"""Progress bars on a terminal's stderr; nothing anywhere else. Knows stages by their labels and not what they do."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from lmlab.cli.streams import is_terminal
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# A stage that is over by then needs no bar, and rich need not be imported for it.
_PATIENCE_S = 0.5


class Bars:
    """One bar at a time, shown once its stage has lasted, removed without a trace by ``clear``."""

    def __init__(self, quiet: bool) -> None:
        self._shown = not quiet and is_terminal(sys.stderr)
        self._stage: str | None = None
        self._since = 0.0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def update(
        self, stage: str, done: float, total: float | None, *, size: bool = False, patience: float = _PATIENCE_S
    ) -> None:
        """Say that ``done`` of ``total`` (None: unknown) of ``stage`` is done; ``size`` counts bytes."""
        if not self._shown:
            return
        now = time.monotonic()
        if stage != self._stage:
            self.clear()
            self._stage, self._since = stage, now
        if self._progress is None:
            if now - self._since < patience:
                return
            self._progress = _bar(size)
            self._task = self._progress.add_task(one_line(stage, 60), total=total)
            self._progress.start()
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def update_text(self, stage: str, text: str, done: float, total: float | None) -> None:
        """As ``update``, at once, with ``text`` in place of the stage's name."""
        self.update(stage, done, total, patience=0)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, description=text)

    def clear(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._task = self._stage = None


def _bar(size: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    name = TextColumn("{task.description}", markup=False)
    rate = (
        (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        if size
        else (TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    )
    return Progress(name, BarColumn(), *rate, console=Console(stderr=True), transient=True)
