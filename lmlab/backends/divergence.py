"""Two models and one text in a worker process of their own, for as long as it takes to compare them."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.process import one_job, reports
from lmlab.worker.divergence.messages import Figures, Measure, Measured, Measuring, ModelLoading, NotMeasured

PROGRAM = "lmlab.worker.divergence"

Listener = Callable[[ModelLoading | Measuring], None]


def run_measure(
    request: Measure, listener: Listener, *, log_folder: Path, cancelled: Callable[[], bool]
) -> Figures | None:
    """Have ``request`` done, and return its figures: those so far once ``cancelled``, None when there are none yet.

    ``listener`` is called on this thread. However this ends, so does the process. Raises what the process says went wrong,
    and EngineStopped with its last words when it says nothing.
    """
    with one_job(log_folder, PROGRAM) as (_, connection):
        connection.send(request)
        return _listen(connection, listener, cancelled)


def _listen(connection: Connection, listener: Listener, cancelled: Callable[[], bool]) -> Figures | None:
    latest: Figures | None = None
    for report in reports(connection, cancelled):
        match report:
            case Measured(figures):
                return figures
            case NotMeasured(error):
                raise error
            case Measuring(figures):
                latest = figures
                listener(report)
            case _:
                listener(report)
    return latest
