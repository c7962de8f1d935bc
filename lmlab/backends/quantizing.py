"""A model file rewritten in a worker process of its own, for as long as it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped
from lmlab.worker.quantizing.messages import NotWritten, Planned, Quantize, Quantizing, Written

PROGRAM = "lmlab.worker.quantizing"
WAIT_S = 0.1
"""Between two looks at whether to go on."""

Listener = Callable[[Planned | Quantizing], None]


def run_quantize(
    request: Quantize, listener: Listener, *, log_folder: Path, cancelled: Callable[[], bool]
) -> Written | None:
    """Have ``request`` done, and return what became of it; None once ``cancelled``, which leaves an unfinished file.

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


def _listen(connection: Connection, listener: Listener, cancelled: Callable[[], bool]) -> Written | None:
    while not cancelled():
        if not connection.poll(WAIT_S):
            continue
        match connection.recv():
            case Written() as written:
                return written
            case NotWritten(error):
                raise error
            case report:
                listener(report)
    return None
