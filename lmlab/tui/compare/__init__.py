"""Variants side by side on a screen. Importing this costs nothing; the screen's library is loaded when it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.terminal_text import visible

if TYPE_CHECKING:
    from lmlab.lab.compare.case import Case
    from lmlab.lab.compare.comparison import Comparison
    from lmlab.lab.compare.workers import Opening

__all__ = ["run_compare"]

_FAILED = 3


def run_compare(
    make: Callable[[Callable[[Opening], None]], Comparison],
    cases: Iterator[Case],
    *,
    blind: bool,
    theme: str | None,
    history: Path,
) -> int:
    """Run the comparison until the person leaves; return the exit code.

    ``make`` gets the listener of the comparison, which is opened, used and closed here. ``cases`` come first, then what
    the person types. Raises LmlabError, with the terminal restored, when a variant cannot be loaded, and any unexpected
    exception. How the votes stand and where everything is kept is said on stderr at the end.
    """
    import asyncio
    import gc

    from lmlab.lab.compare.sitting import Sitting, SittingEvent
    from lmlab.tui.compare.app import CompareApp
    from lmlab.tui.compare.words import farewell
    from lmlab.tui.history import History
    from lmlab.tui.inbox import Inbox
    from lmlab.tui.signals import answered

    inbox: Inbox[SittingEvent] = Inbox()
    sitting = Sitting(make, inbox.put)
    app = CompareApp(sitting, inbox, cases, History(history), blind=blind, theme=theme)
    # What is there by then stays: the collector need not look through it while somebody types.
    app.at_first_picture = gc.freeze
    try:
        # Not app.run() alone: that makes a loop of its own, and takes interrupts for itself.
        with asyncio.Runner() as runner, answered(app, app.stop_asking, runner.get_loop()):
            code = app.run(loop=runner.get_loop())
    finally:
        sitting.close()
    if app.failure is not None:
        raise app.failure
    for line in farewell(sitting.comparison, app.passed_over):
        # The terminal may be gone.
        with suppress(OSError):
            sys.stderr.write(visible(line) + "\n")
            sys.stderr.flush()
    return code or (_FAILED if app.failed_answers or app.passed_over else 0)
