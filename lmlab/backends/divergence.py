"""Two models and one text in a worker process of their own, for as long as it takes to compare them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped
from lmlab.worker.divergence.messages import Figures, Measure, Measured, Measuring, ModelLoading, NotMeasured

PROGRAM = "lmlab.worker.divergence"
WAIT_S = 0.1
"""Between two looks at whether to go on."""

Listener = Callable[[ModelLoading | Measuring], None]


def run_measure(
    request: Measure, listener: Listener, *, log_folder: Path, cancelled: Callable[[], bool]
) -> Figures | None:
    """Have ``request`` done, and return its figures: those so far once ``cancelled``, None when there are none yet.

    ``listener`` is called on this thread. However this ends, so does the process. Raises what the process says went wrong,
    and EngineStopped with its last words when it says nothing.
    """
    try:
        process = WorkerProcess(log_folder, program=PROGRAM)
    except OSError as error:
        raise EngineStopped(
            f"the engine could not be started: {error.strerror or error}: {error.filename or sys.executable}; "
            "LMLAB_HOME can name a folder you may write to"
        ) from None
    try:
        with process.connect() as connection:
            connection.send(request)
            return _listen(connection, listener, cancelled)
    except (EOFError, OSError):
        raise process.explain() from None
    finally:
        process.end()


def _listen(connection: Connection, listener: Listener, cancelled: Callable[[], bool]) -> Figures | None:
    latest: Figures | None = None
    while not cancelled():
        if not connection.poll(WAIT_S):
            continue
        match connection.recv():
            case Measured(figures):
                return figures
            case NotMeasured(error):
                raise error
            case Measuring(figures) as report:
                latest = figures
                listener(report)
            case report:
                listener(report)
    return latest
