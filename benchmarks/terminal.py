"""Drives the real program in a real pseudo-terminal and times what reaches it. POSIX only."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping


class Terminal:
    """``lmlab`` with ``arguments`` in a terminal of ``columns`` by ``rows``; ``output`` is all it has written, in bytes."""

    def __init__(self, arguments: list[str], environ: Mapping[str, str], columns: int = 100, rows: int = 30) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmlab", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            start_new_session=True,
        )
        os.close(slave)
        # Grows in place: a copy of megabytes at every read would be part of the figures.
        self.output = bytearray()

    def send(self, keys: str) -> float:
        """Type ``keys`` and return the time just before."""
        moment = time.perf_counter()
        os.write(self._master, keys.encode())
        return moment

    def read(self, seconds: float) -> float | None:
        """Take in what comes within ``seconds``; return the time it came, or None for nothing."""
        if not select.select([self._master], [], [], seconds)[0]:
            return None
        moment = time.perf_counter()
        self.output.extend(os.read(self._master, 65536))
        return moment

    def wait_for(self, seen: Callable[[bytearray], bool], *, start: int = 0, limit_s: float = 60) -> float:
        """Read until ``seen`` holds for the output from ``start`` on; return the time. Raises TimeoutError."""
        end = time.perf_counter() + limit_s
        while not seen(self.output[start:]):
            if self.read(max(0, end - time.perf_counter())) is None:
                raise TimeoutError(self.output[-2000:].decode("utf-8", "replace"))
        return time.perf_counter()

    def drain(self, quiet_s: float) -> float | None:
        """Read until nothing has come for ``quiet_s``; return when the last of it came."""
        last = None
        while (moment := self.read(quiet_s)) is not None:
            last = moment
        return last

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._master)
