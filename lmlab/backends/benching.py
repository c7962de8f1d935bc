"""A worker process that measures speed: orders go in one at a time, and what they took comes back.

Knows nothing of which measurements are worth having.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from lmlab.backends.process import WorkerProcess, reports
from lmlab.worker.benching.messages import (
    Answer,
    Bandwidth,
    MeasureBandwidth,
    NotDone,
    Open,
    Opened,
    OpenProgress,
    Order,
    Ran,
    Run,
)
from lmlab.worker.messages import LoadSpec

PROGRAM = "lmlab.worker.benching"


class BenchProcess:
    """Lives from ``__enter__`` to ``__exit__``. Every order returns None once ``cancelled``, and no other may follow then.

    Orders raise what the process says went wrong, and EngineStopped with its last words when it says nothing.
    """

    def __init__(self, log_folder: Path, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._cancelled = cancelled
        self._process = WorkerProcess(log_folder, program=PROGRAM)
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._connection = self._process.connect()
        except BaseException:
            self._process.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()
        # In the middle of something it would not look up: nothing it holds is worth waiting for.
        self._process.end(0)

    def bandwidth(self, threads: int | None, *, size: int, repeat: int) -> Bandwidth | None:
        """Return how fast main memory is read."""
        answer = self._ask(MeasureBandwidth(threads, size, repeat))
        assert answer is None or isinstance(answer, Bandwidth)
        return answer

    def open(self, spec: LoadSpec, progress: Callable[[float], None] = lambda fraction: None) -> Opened | None:
        """Load a model; once only. ``progress`` gets the fraction read, on this thread."""
        answer = self._ask(Open(spec), progress)
        assert answer is None or isinstance(answer, Opened)
        return answer

    def run(self, run: Run) -> Ran | None:
        """Return how long ``run`` took."""
        answer = self._ask(run)
        assert answer is None or isinstance(answer, Ran)
        return answer

    def _ask(self, order: Order, progress: Callable[[float], None] = lambda fraction: None) -> Answer | None:
        connection = self._connection
        assert connection is not None
        try:
            connection.send(order)
            for report in reports(connection, self._cancelled):
                match report:
                    case OpenProgress(fraction):
                        progress(fraction)
                    case NotDone(error):
                        raise error
                    case Bandwidth() | Opened() | Ran() as answer:
                        return answer
        except (EOFError, OSError):
            raise self._process.explain() from None
        return None
