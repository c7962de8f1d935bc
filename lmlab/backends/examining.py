"""llama.cpp looked at in a worker process of its own, which may well die of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.backends.process import WAIT_S, one_job
from lmlab.errors import EngineStopped
from lmlab.worker.examining.messages import Build, Examine, Examined, LaidOut, NotLaidOut
from lmlab.worker.messages import LoadSpec

PROGRAM = "lmlab.worker.examining"
PATIENCE_S = 60.0
"""Longest that it may say nothing. Reading a header takes a second at most; a driver that wakes a GPU takes some."""

Listener = Callable[[Build | LaidOut | NotLaidOut], None]


def run_examine(
    spec: LoadSpec | None,
    listener: Listener,
    *,
    log_folder: Path,
    cancelled: Callable[[], bool] = lambda: False,
    patience_s: float = PATIENCE_S,
) -> None:
    """Look at llama.cpp, and at how the model of ``spec`` would be laid out; ``listener`` is called on this thread.

    However this ends, so does the process. Raises EngineStopped with its last words when it dies, and when it has said
    nothing for ``patience_s`` seconds.
    """
    with one_job(log_folder, PROGRAM) as (process, connection):
        connection.send(Examine(spec))
        if not _listen(connection, listener, cancelled, patience_s):
            raise EngineStopped(f"the engine said nothing for {patience_s:.0f} s (log: {process.log}); try again")


def _listen(connection: Connection, listener: Listener, cancelled: Callable[[], bool], patience_s: float) -> bool:
    """Return False when it has been silent for too long."""
    heard = time.monotonic()
    while not cancelled():
        if connection.poll(WAIT_S):
            match connection.recv():
                case Examined():
                    return True
                case report:
                    listener(report)
            heard = time.monotonic()
        elif time.monotonic() - heard >= patience_s:
            return False
    return True
