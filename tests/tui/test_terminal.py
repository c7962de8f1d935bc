"""The chat as a program on a terminal of its own: bytes that are no text, signals, and the terminal going away."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import lmlab

pty = pytest.importorskip("pty", reason="this platform has no pseudo-terminals")
fcntl = pytest.importorskip("fcntl", reason="this platform has no pseudo-terminals")
termios = pytest.importorskip("termios", reason="this platform has no pseudo-terminals")

_PATIENCE_S = 30.0
_PROGRAM = "import sys; from lmlab.__main__ import main; sys.exit(main())"
_ALTERNATE, _MOUSE, _PASTE = b"\x1b[?1049", b"\x1b[?1003", b"\x1b[?2004"


class Chat:
    """``lmlab chat`` on a terminal; no model is found. ``written`` is all that it has put there."""

    def __init__(self, home: Path, program: str, environment: dict[str, str]) -> None:
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
                [sys.executable, "-c", program, "chat", str(home / "none.gguf")],
                stdin=far_end,
                stdout=far_end,
                stderr=far_end,
                start_new_session=True,
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
        deadline = time.monotonic() + _PATIENCE_S
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
        """The terminal is in no mode that the chat set."""
        return all(self.written.rfind(mode + b"l") > self.written.rfind(mode + b"h") for mode in MODES)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.terminal)
        self.process.kill()
        self.process.wait()


MODES = (_ALTERNATE, _MOUSE, _PASTE)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Chat]]:
    """Start a chat and wait for its screen."""
    started: list[Chat] = []

    def chat(program: str = _PROGRAM, **environment: str) -> Chat:
        started.append(Chat(tmp_path, program, environment))
        started[-1].wait_for("none.gguf")
        return started[-1]

    yield chat
    for one in started:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_chat_and_gives_the_terminal_back(start: Callable[..., Chat], number: signal.Signals) -> None:
    chat = start()
    assert not chat.is_as_it_was()
    chat.process.send_signal(number)
    assert chat.wait_for_exit() == 128 + number
    assert chat.is_as_it_was()
    assert b"Traceback" not in chat.written


def test_a_terminal_that_goes_away_ends_the_chat(start: Callable[..., Chat]) -> None:
    chat = start()
    os.close(chat.terminal)
    assert chat.process.wait(_PATIENCE_S) == 128 + signal.SIGHUP


def test_bytes_that_are_not_text_become_a_mark(start: Callable[..., Chat]) -> None:
    chat = start()
    chat.type(b"\x9b")
    chat.wait_for("\N{REPLACEMENT CHARACTER}")
    chat.type(b"\xc3")
    chat.type(b"\xa9")
    chat.wait_for("é")


def test_what_is_pasted_presses_no_key(start: Callable[..., Chat]) -> None:
    chat = start(EDITOR="false")
    chat.type(b"\x1b[200~\x1b]0;x\x07y\x11z\x1b[201~")
    chat.wait_for("␛]0;x␇y␑z")
    assert chat.process.poll() is None


def test_an_editor_that_fails_gives_the_screen_back(start: Callable[..., Chat]) -> None:
    chat = start(EDITOR="false")
    chat.type(b"kept\x07")
    chat.wait_for("ended with status 1")
    chat.type(b"!")
    chat.wait_for("!")
    chat.process.send_signal(signal.SIGTERM)
    assert chat.wait_for_exit() == 128 + signal.SIGTERM
    assert chat.is_as_it_was()


def test_an_interrupt_meant_for_the_editor_leaves_the_chat_alone(start: Callable[..., Chat], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nkill -INT $PPID\nprintf edited > $1\n")
    editor.chmod(0o700)
    chat = start(EDITOR=str(editor))
    chat.type(b"\x07")
    chat.wait_for("edited")
    chat.type(b"!")
    chat.wait_for("!")


def test_an_exception_while_reading_goes_to_the_log(start: Callable[..., Chat], tmp_path: Path) -> None:
    broken = "import lmlab.tui.paste as paste\ndef feed(self, data): raise RuntimeError('boom')\n"
    chat = start(f"{broken}paste.PasteParser.feed = feed\n{_PROGRAM}")
    chat.type(b"x")
    assert chat.wait_for_exit() == 1
    assert chat.is_as_it_was()
    assert b"unexpected RuntimeError: boom" in chat.written
    assert b"Traceback" not in chat.written
    assert "in feed" in (tmp_path / "logs" / "lmlab.log").read_text()
