"""``python -m lmlab.worker.benching``: let the parent connect, and carry out its orders until it has no more."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection

from lmlab.errors import LmlabError
from lmlab.worker.benching.bandwidth import read_rates
from lmlab.worker.benching.bench_model import BenchModel
from lmlab.worker.benching.messages import Bandwidth, MeasureBandwidth, NotDone, Open, OpenProgress, Run
from lmlab.worker.child import connected, start_library
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import default_threads


def main() -> None:
    connection, _ = connected()
    try:
        _serve(connection)
    except EOFError:
        return


def _serve(connection: Connection) -> None:
    model: BenchModel | None = None
    while True:
        order = connection.recv()
        try:
            match order:
                case MeasureBandwidth(threads, size, repeat):
                    connection.send(Bandwidth(read_rates(threads or default_threads(), size, repeat)))
                case Open(spec):
                    log = LoadLog()
                    model = BenchModel(spec, start_library(log.take), log, _told(connection))
                    connection.send(model.opened)
                case Run() if model is not None:
                    connection.send(model.run(order))
                case _:
                    raise TypeError(f"not to be done now: {order!r}")
        except LmlabError as error:
            connection.send(NotDone(error))


def _told(connection: Connection) -> Callable[[float], None]:
    latest = -1.0

    def progress(fraction: float) -> None:
        nonlocal latest
        if fraction - latest >= 0.01 or fraction >= 1:
            latest = fraction
            connection.send(OpenProgress(fraction))

    return progress


if __name__ == "__main__":
    main()
