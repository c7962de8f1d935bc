"""What every child process begins with: its parent connects, its end follows its parent's, and llama.cpp's words are logged.

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
from multiprocessing.connection import Connection, Listener
from types import TracebackType

from lmlab.llama import Library
from lmlab.worker.messages import ABORT_MARK


class ParentWatch:
    """Ends this process when its input ends, since then the parent is gone, or done with it."""

    def __init__(self) -> None:
        self.last_words: Callable[[], None] = lambda: None
        threading.Thread(target=self._wait, daemon=True, name="parent-watch").start()

    def _wait(self) -> None:
        sys.stdin.read()
        self.last_words()
        os._exit(0)


def connected() -> tuple[Connection, ParentWatch]:
    """Let the parent connect. Whatever is printed from then on belongs in the log."""
    faulthandler.enable()
    threading.excepthook = lambda hook: _end(hook.exc_type, hook.exc_value, hook.exc_traceback)
    family, address, key = json.loads(sys.stdin.readline())
    watch = ParentWatch()
    listener = Listener(tuple(address) if family == "AF_INET" else address, family=family, authkey=bytes.fromhex(key))
    sys.stdout.write(f"{json.dumps(listener.address)}\n")
    sys.stdout.flush()
    os.dup2(2, 1)
    connection = listener.accept()
    # The parent removes the socket's folder once connected, perhaps before this does.
    with contextlib.suppress(FileNotFoundError):
        listener.close()
    return connection, watch


def start_library(take: Callable[[str, str], None]) -> Library:
    """Start llama.cpp. ``take`` gets the level of every line it logs, and the line; those that matter are logged."""

    def logged(level: str, line: str) -> None:
        take(level, line)
        if level != "debug":
            note(f"{level}: {line}")

    return Library(logged, lambda message: note(f"{ABORT_MARK} {message}"))


def note(line: str) -> None:
    """Write ``line`` to the log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _end(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """A thread died of an error nobody foresaw: end the process, so that the parent hears of it at once."""
    sys.__excepthook__(kind, error or kind(), trace)
    sys.stderr.flush()
    os._exit(1)
