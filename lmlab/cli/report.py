"""The one owner of stderr and of exit codes: errors, notices, and what an unexpected exception becomes.

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 130 interrupted (128 + SIGINT), and 141 when the reader of
stdout went away (128 + SIGPIPE, as a shell reports of any program in a pipe that ended early).
"""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from lmlab.cli import streams
from lmlab.errors import LmlabError
from lmlab.terminal_text import visible

FAILED = 1
INTERRUPTED = 130
PIPE_CLOSED = 141

_FULL = (errno.ENOSPC, errno.EDQUOT)


def supervise(action: Callable[[], int]) -> int:
    """Run ``action`` and return the exit code; errors of lmlab's own become one line on stderr."""
    try:
        code = action()
        streams.check_stdout()
    except LmlabError as error:
        say_error(error)
        return error.exit_code
    except streams.OutputClosed:
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # Help and completion scripts are written to stdout by libraries.
        if error.errno not in _FULL:
            raise
        streams.give_up_stdout()
        write_line(f"lmlab: cannot write {error.filename or 'to stdout'}: {error.strerror}; make room and try again")
        return FAILED
    return code


def say_error(error: LmlabError) -> None:
    """Write ``error`` as one line on stderr."""
    write_line(f"lmlab: {error}")


def write_line(text: str) -> None:
    """Write ``text`` on stderr as one safe line. There is nowhere to say that stderr itself cannot be written."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(visible(" ".join(text.splitlines())) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


class Notices:
    """Sentences for the person on stderr, each only once; none when ``quiet``."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        if not self._quiet and text not in self._said:
            self._said.add(text)
            write_line(f"lmlab: {text}")


def install_hooks() -> None:
    """From now on an exception nobody caught goes to the log file, and one line about it to stderr."""
    sys.excepthook = _record
    threading.excepthook = lambda args: _record(args.exc_type, args.exc_value, args.exc_traceback)


def _record(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    name = f"{kind.__name__}: {error}"
    try:
        log = _append_to_log(error)
    except (LmlabError, OSError) as log_error:
        write_line(f"lmlab: unexpected {name} (and its traceback could not be written: {log_error})")
        return
    write_line(f"lmlab: unexpected {name}; this is a defect of lmlab, its traceback is in {log}")


def _append_to_log(error: BaseException) -> str:
    """Append the traceback to the log file, which only this user can read, and return its path."""
    import datetime
    import os
    import traceback

    from lmlab import __version__
    from lmlab.settings import Paths, private_folder

    log = private_folder(Paths.find().logs) / "lmlab.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.write(f"{now} lmlab {__version__} on Python {sys.version.split()[0]}\n")
        file.write("".join(traceback.format_exception(error)) + "\n")
    return str(log)
