"""One shell command run again and again: text in, the ends of its output and its exit code out, within a time limit.

Knows nothing of candidates or scores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from lmlab.errors import LmlabError

KEPT = 64 * 1024
"""Bytes kept of the end of each output."""

NEW_GROUP = 0x200 if sys.platform == "win32" else 0
"""For ``creationflags``: CREATE_NEW_PROCESS_GROUP. Elsewhere ``start_new_session`` does it, which Windows ignores."""

_CHUNK = 64 * 1024
# What outlives its shell and holds on to the output is not waited for much longer.
_PIPES_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code`` None: it took longer than ``limit_s`` and was ended. ``stdout`` and ``stderr`` are the ends of them."""

    code: int | None
    stdout: str
    stderr: str
    limit_s: float


class Shell:
    """Runs ``command``. May be used by several threads at once."""

    def __init__(self, command: str, limit_s: float) -> None:
        self._command = command
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(self, text: str, variables: Mapping[str, str | None]) -> Outcome:
        """Run it with ``text`` on stdin and ``variables`` in its environment; None takes one out of it."""
        changed = {**os.environ, **variables}
        environment = {name: value for name, value in changed.items() if value is not None}
        with self._lock:
            if self._closed:
                raise LmlabError("the selector was closed")
            try:
                process = _start(self._command, environment)
            except OSError as error:
                raise LmlabError(f"the shell could not be started for {self._command!r}: {error}") from None
            self._running.add(process)
        try:
            return self._finish(process, text)
        finally:
            with self._lock:
                self._running.discard(process)

    def close(self) -> None:
        """End what runs; whoever waits for it gets LmlabError."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _kill_tree(process)

    def _finish(self, process: subprocess.Popen[bytes], text: str) -> Outcome:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdout, stderr = _Tail(process.stdout), _Tail(process.stderr)
        feeder = threading.Thread(target=_feed, args=(process.stdin, text), daemon=True)
        feeder.start()
        code: int | None
        try:
            code = process.wait(self._limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # Also what a command that has ended left running behind it.
            _kill_tree(process)
            process.wait()
        for thread in (feeder, stdout.thread, stderr.thread):
            thread.join(_PIPES_S)
        if self._closed:
            raise LmlabError("the selector was closed")
        return Outcome(code, stdout.text, stderr.text, self._limit_s)


class _Tail:
    """Reads a pipe to its end, on a thread, and keeps only the last of it: a command may print without end."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")

    def _read(self) -> None:
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), _CHUNK):
                self._kept = (self._kept + chunk)[-KEPT:]


def _start(command: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # A group of its own: it can be ended whole, and Ctrl-C in the terminal is for lmlab to act on.
    return subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        creationflags=NEW_GROUP,
        start_new_session=True,
    )


def _feed(pipe: IO[bytes], text: str) -> None:
    # A command need not read its input.
    with suppress(OSError), pipe:
        pipe.write(text.encode("utf-8", "replace"))


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        import psutil

        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
