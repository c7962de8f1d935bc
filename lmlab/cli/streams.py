"""The one owner of stdin and stdout: stdin is a prompt, stdout is data and only data. Knows nothing of what it says."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from lmlab.errors import LmlabError, UsageError
from lmlab.terminal_text import visible


class OutputClosed(Exception):
    """Whoever read stdout has stopped reading: nothing more to do, and nothing to complain about."""


class Stdout:
    """Writes data at once. A pipe or file gets UTF-8 exactly as it is; a terminal gets it made ``visible``."""

    def __init__(self) -> None:
        self.terminal = is_terminal(sys.stdout)
        self.colours = self.terminal and shows_colours(os.environ)
        self._line_open = False

    def write(self, text: str) -> None:
        """Write and flush. Raises OutputClosed for a closed pipe and LmlabError when it cannot be written."""
        if not text:
            return
        self._put(self._safe(text))
        self._line_open = not text.endswith("\n")

    def styled(self, text: str, style: str) -> None:
        """Write as ``write`` does, on a terminal with colours in ``style``: the numbers of an SGR sequence, as ``1;31``."""
        if not self.colours:
            self.write(text)
        elif text:
            self._put(f"\x1b[{style}m".encode("ascii") + self._safe(text) + b"\x1b[0m")
            self._line_open = not text.endswith("\n")

    def _safe(self, text: str) -> bytes:
        if self.terminal:
            return visible(text).encode(sys.stdout.encoding, "backslashreplace")
        return text.encode("utf-8", "backslashreplace")

    def _put(self, data: bytes) -> None:
        if sys.stdout is None:
            raise LmlabError("cannot write the reply: stdout is closed")
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise stdout_error(error) from None

    def line(self, text: str) -> None:
        self.write(text + "\n")

    def json(self, value: Any) -> None:
        """Write ``value`` as one line of JSON: on a terminal in ASCII, which is both safe there and still the same value."""
        self.line(json.dumps(value, ensure_ascii=self.terminal, allow_nan=False))

    def end_line(self) -> None:
        """Finish a line that was left open, so that what comes next starts on its own."""
        if self._line_open:
            self.write("\n")


def is_terminal(stream: Any) -> bool:
    """Whether ``stream`` (which may be None or closed) is a terminal."""
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


def shows_colours(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a terminal with these variables shows colours, and the person wants them."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    # The console of older Windows prints escape sequences as they are.
    return platform != "win32" or "WT_SESSION" in environ or "TERM" in environ


def stdout_error(error: OSError) -> Exception:
    """Give up stdout after ``error`` and return what to raise."""
    give_up_stdout()
    # Windows reports a pipe whose reader has gone as EINVAL.
    if isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL):
        return OutputClosed()
    return LmlabError(f"cannot write to stdout: {error.strerror}; make room and try again")


def give_up_stdout() -> None:
    """Send what is still to be written nowhere: the interpreter flushes stdout once more as it exits."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def check_stdout() -> None:
    """Flush what others (help, completion scripts) printed. Raises as ``Stdout.write`` does."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            raise stdout_error(error) from None


def own_stdin() -> BinaryIO | None:
    """Return stdin to be read on any thread: while one waits in ``sys.stdin``, Python cannot close it and ends badly."""
    if sys.stdin is None:
        return None
    if not isinstance(sys.stdin.buffer, io.BufferedReader):
        return sys.stdin.buffer
    return open(sys.stdin.fileno(), "rb", closefd=False)


def piped_input() -> str:
    """Return all of stdin, without its last line end; empty when stdin is a terminal or closed.

    Raises UsageError with the byte offset when it is not UTF-8.
    """
    if sys.stdin is None or is_terminal(sys.stdin):
        return ""
    text = decode(sys.stdin.buffer.read(), "stdin")
    return text.removesuffix("\n").removesuffix("\r")


def decode(data: bytes, what: str, offset: int = 0) -> str:
    """Return the text of ``data``, which starts ``offset`` bytes into ``what``. Raises UsageError when it is not UTF-8."""
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        place = offset + error.start
        raise UsageError(
            f"{what} is not UTF-8 text: byte {place:,} is 0x{data[error.start]:02X}; convert it first, "
            "for example with: iconv -f LATIN1 -t UTF-8"
        ) from None
