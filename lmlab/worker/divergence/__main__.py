"""``python -m lmlab.worker.divergence``: let the parent connect, measure what it asks for, say the figures, and end."""

from __future__ import annotations

from lmlab.errors import LmlabError
from lmlab.worker.child import connected, start_library
from lmlab.worker.divergence.measuring import measure
from lmlab.worker.divergence.messages import Measure, Measured, NotMeasured
from lmlab.worker.load_log import LoadLog


def main() -> None:
    connection, _ = connected()
    request = connection.recv()
    if not isinstance(request, Measure):
        raise TypeError(f"what is asked for must be Measure, not {request!r}")
    log = LoadLog()
    start_library(log.take)
    try:
        connection.send(Measured(measure(request, log, connection.send)))
    except LmlabError as error:
        connection.send(NotMeasured(error))


if __name__ == "__main__":
    main()
