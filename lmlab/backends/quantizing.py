"""A model file rewritten in a worker process of its own, for as long as it takes."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.process import one_job, reports
from lmlab.worker.quantizing.messages import NotWritten, Planned, Quantize, Quantizing, Written

PROGRAM = "lmlab.worker.quantizing"

Listener = Callable[[Planned | Quantizing], None]


def run_quantize(
    request: Quantize, listener: Listener, *, log_folder: Path, cancelled: Callable[[], bool]
) -> Written | None:
    """Have ``request`` done, and return what became of it; None once ``cancelled``, which leaves an unfinished file.

    ``listener`` is called on this thread. However this ends, so does the process. Raises what the process says went wrong,
    and EngineStopped with its last words when it says nothing.
    """
    with one_job(log_folder, PROGRAM) as (_, connection):
        connection.send(request)
        return _listen(connection, listener, cancelled)


def _listen(connection: Connection, listener: Listener, cancelled: Callable[[], bool]) -> Written | None:
    for report in reports(connection, cancelled):
        match report:
            case Written() as written:
                return written
            case NotWritten(error):
                raise error
            case _:
                listener(report)
    return None
