"""``python -m lmlab.worker.quantizing``: let the parent connect, write the model it asks for, say how it went, and end."""

from __future__ import annotations

import contextlib
import time
from multiprocessing.connection import Connection
from pathlib import Path

from lmlab.errors import LmlabError
from lmlab.worker.child import connected, start_library
from lmlab.worker.quantizing.messages import NotWritten, Quantize, Quantizing
from lmlab.worker.quantizing.quantize_log import QuantizeLog
from lmlab.worker.quantizing.writing import write

APART_S = 0.05
"""Between two reports, at least: a model may have ten thousand small tensors."""


def main() -> None:
    connection, watch = connected()
    request = connection.recv()
    if not isinstance(request, Quantize):
        raise TypeError(f"what is asked for must be Quantize, not {request!r}")
    unfinished = Path(request.folder, request.name)

    def tidy() -> None:
        # The parent may be gone, and with it whoever would remove it.
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)

    watch.last_words = tidy
    log = QuantizeLog(Progress(connection))
    start_library(log.take)
    try:
        written = write(request, log, connection.send)
    except LmlabError as error:
        tidy()
        connection.send(NotWritten(error))
    else:
        # From here on the file is the parent's.
        watch.last_words = lambda: None
        connection.send(written)


class Progress:
    """Sends reports, but not too many."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = 0.0

    def __call__(self, done: int, tensors: int, fraction: float) -> None:
        now = time.monotonic()
        if done == tensors or now - self._told >= APART_S:
            self._told = now
            self._connection.send(Quantizing(done, tensors, fraction))


if __name__ == "__main__":
    main()
