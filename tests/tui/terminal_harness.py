"""``lmlab`` as a program on a pseudo-terminal: what it writes there, the keys it gets, how it leaves."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

import lmlab

pty = pytest.importorskip("pty", reason="this platform has no pseudo-terminals")
fcntl = pytest.importorskip("fcntl", reason="this platform has no pseudo-terminals")
termios = pytest.importorskip("termios", reason="this platform has no pseudo-terminals")

PATIENCE_S = 30.0
PROGRAM = "import sys; from lmlab.__main__ import main; sys.exit(main())"
_ALTERNATE, _MOUSE, _PASTE = b"\x1b[?1049", b"\x1b[?1003", b"\x1b[?2004"


class Terminal:
    """``lmlab`` with ``arguments`` on a terminal of its own, in the folder ``home``. ``written`` is all that it has put there."""

    def __init__(
        self, home: Path, arguments: Sequence[str], environment: Mapping[str, str], program: str = PROGRAM
    ) -> None:
        self.terminal, far_end = pty.openpty()
        fcntl.ioctl(far_end, termios.TIOCSWINSZ, b"\x18\0\x50\0\0\0\0\0")
        self.modes = termios.tcgetattr(far_end)
        self.written = b""
        sources = str(Path(lmlab.__file__).parent.parent)
        path = os.pathsep.join(part for part in (sources, os.environ.get("PYTHONPATH")) if part)
        # Where the tests run in the background, these are ignored, and would be by what they start.
        before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *arguments],
                stdin=far_end,
                stdout=far_end,
                stderr=far_end,
                start_new_session=True,
                cwd=home,
                env={
                    **os.environ,
                    "TERM": "xterm-256color",
                    "PYTHONPATH": path,
                    "LMLAB_HOME": str(home),
                    **environment,
                },
            )
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(far_end)

    def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Read what is written until ``predicate`` holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not predicate():
            assert time.monotonic() < deadline, f"it did not come to pass: {self.written[-2000:]!r}"
            if select.select([self.terminal], [], [], 0.05)[0]:
                # EIO: nobody has the other end any more.
                with suppress(OSError):
                    self.written += os.read(self.terminal, 65536)

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: text.encode() in self.written)

    def type(self, keys: bytes) -> None:
        self.written = b""
        os.write(self.terminal, keys)

    def wait_for_exit(self) -> int:
        self.wait_until(lambda: self.process.poll() is not None)
        return self.process.returncode

    def is_as_it_was(self) -> bool:
        """The terminal is in no mode that lmlab set."""
        return all(self.written.rfind(mode + b"l") > self.written.rfind(mode + b"h") for mode in MODES)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.terminal)
        self.process.kill()
        self.process.wait()


MODES = (_ALTERNATE, _MOUSE, _PASTE)
