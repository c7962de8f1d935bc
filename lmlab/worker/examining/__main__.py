"""``python -m lmlab.worker.examining``: let the parent connect, say what there is to say of llama.cpp, and end."""

from __future__ import annotations

from lmlab.errors import LmlabError
from lmlab.worker.child import connected, start_library
from lmlab.worker.examining.examining import build, layout
from lmlab.worker.examining.messages import Examine, Examined, NotLaidOut
from lmlab.worker.load_log import LoadLog


def main() -> None:
    connection, _ = connected()
    request = connection.recv()
    if not isinstance(request, Examine):
        raise TypeError(f"what is asked for must be Examine, not {request!r}")
    log = LoadLog()
    library = start_library(log.take)
    connection.send(build(library))
    if request.spec is not None:
        try:
            connection.send(layout(request.spec, library, log))
        except LmlabError as error:
            connection.send(NotLaidOut(error))
    connection.send(Examined())


if __name__ == "__main__":
    main()
