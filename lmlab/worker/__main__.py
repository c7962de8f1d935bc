"""``python -m lmlab.worker``: let the parent connect, load a model, serve it.

Standard input: one JSON line with the family, address and key to listen on; then nothing, and its end means that the
parent is gone. Standard output: one JSON line with the address once it listens. Standard error is the log file.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Listener
from types import TracebackType

from lmlab.llama import Library
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import Loaded, load
from lmlab.worker.messages import ABORT_MARK, LoadSpec
from lmlab.worker.rank_loading import load_ranker
from lmlab.worker.ranking import LoadedRanker
from lmlab.worker.serving import Worker


def _load(spec: LoadSpec, progress: Callable[[float], None]) -> Loaded | LoadedRanker:
    log = LoadLog()
    latest = -1.0

    loading = True

    def logged(level: str, line: str) -> None:
        if loading:
            log.take(level, line)
        if level != "debug":
            print(f"{level}: {line}", file=sys.stderr, flush=True)

    def aborted(message: str) -> None:
        print(f"{ABORT_MARK} {message}", file=sys.stderr, flush=True)

    def read(fraction: float) -> None:
        nonlocal latest
        if fraction - latest >= 0.01 or fraction >= 1:
            latest = fraction
            progress(fraction)

    def note(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    loaded = (load_ranker if spec.rank else load)(spec, Library(logged, aborted), log, read, note=note)
    loading = False
    return loaded


def _end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """A thread died of an error nobody foresaw: end the process, so that the parent hears of it at once."""
    sys.__excepthook__(kind, error or kind(), trace)
    sys.stderr.flush()
    os._exit(1)


class _ParentWatch:
    """Ends this process when its input ends, since then the parent is gone, or done with it."""

    def __init__(self) -> None:
        self.last_words: Callable[[], None] = lambda: None
        threading.Thread(target=self._wait, daemon=True, name="parent-watch").start()

    def _wait(self) -> None:
        sys.stdin.read()
        self.last_words()
        os._exit(0)


def main() -> None:
    faulthandler.enable()
    threading.excepthook = lambda hook: _end(hook.exc_type, hook.exc_value, hook.exc_traceback)
    family, address, key = json.loads(sys.stdin.readline())
    watch = _ParentWatch()
    listener = Listener(tuple(address) if family == "AF_INET" else address, family=family, authkey=bytes.fromhex(key))
    print(json.dumps(listener.address), flush=True)
    # From here on whatever is printed belongs in the log.
    os.dup2(2, 1)
    connection = listener.accept()
    # The parent removes the socket's folder once connected, perhaps before this does.
    with contextlib.suppress(FileNotFoundError):
        listener.close()
    worker = Worker(connection, _load)
    watch.last_words = worker.flush
    worker.run()


if __name__ == "__main__":
    main()
