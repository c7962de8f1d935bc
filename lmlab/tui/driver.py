"""The terminal, on Linux and macOS: Textual's driver, made to bear any byte, any paste, and a terminal that goes away.

Knows nothing of the chat.
"""

from __future__ import annotations

import errno
import io
import os
import selectors
import signal
import sys
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import IO, Any

from textual import constants
from textual.driver import Driver

from lmlab.tui.paste import PasteParser

_TICK_S = 0.1
_READ_BYTES = 4096


def driver_class() -> type[Driver] | None:
    """Return the driver for this platform; None: Textual's own choice is right."""
    if sys.platform != "win32" and constants.DRIVER is None:
        return TerminalDriver
    return None


class Undeterred(io.TextIOBase):
    """A file for writing on a terminal. Once that is gone it takes everything all the same.

    Textual's writer would die of the error, and the application wait for it without end.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()


if sys.platform != "win32":
    from textual.drivers.linux_driver import LinuxDriver

    class TerminalDriver(LinuxDriver):
        """Bytes that are not UTF-8 become ``�``; an exception while reading is the application's, not the screen's."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._file: Any = Undeterred(self._file)

        def _run_input_thread(self) -> None:
            try:
                self.run_input_thread()
            except Exception as error:  # noqa: BLE001
                # The end of a thread: past here Textual would print it over the screen and call that success.
                self._app.call_later(self._app._handle_exception, error)

        def run_input_thread(self) -> None:
            parser = PasteParser(self._debug)
            decode = getincrementaldecoder("utf-8")("replace").decode
            # Not the default: on macOS that cannot wait for a terminal.
            with selectors.SelectSelector() as selector:
                selector.register(self.fileno, selectors.EVENT_READ)
                while not self.exit_event.is_set():
                    if selector.select(_TICK_S):
                        data = self._read()
                        if not data:
                            self._app.call_later(self._app.exit, 128 + signal.SIGHUP)
                            return
                        # Part of a character decodes to nothing, which the parser would take for the end.
                        if text := decode(data):
                            for event in parser.feed(text):
                                self.process_message(event)
                    for event in parser.tick():
                        self.process_message(event)

        def _read(self) -> bytes:
            """Return what has come; nothing when the terminal is gone."""
            try:
                return os.read(self.fileno, _READ_BYTES)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return b""
