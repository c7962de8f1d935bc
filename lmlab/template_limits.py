"""A time limit for Jinja2 templates, and where in one an error arose. Knows nothing of what is rendered."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_TEMPLATE_FILE = "<template>"
"""What Jinja2 calls the file of a template that came as text."""


class TimedOut(BaseException):
    """Raised in the midst of a rendering; not an Exception, so that nothing in between can take it for its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimedOut in what runs inside after ``seconds``, at its next line of a template or call.

    By tracing this thread: nothing else stops Python code from within, at a well-defined place. It sees Python, not the
    inside of one long call in C.
    """
    deadline = time.monotonic() + seconds

    def trace(frame: FrameType, _event: str, _value: object) -> Any:
        if time.monotonic() > deadline:
            raise TimedOut
        return trace if frame.f_code.co_filename == _TEMPLATE_FILE else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def template_line(error: BaseException) -> int | None:
    """Return the line of the template in which ``error`` arose, the innermost if there are several.

    Jinja2 corrects the lines in the trace of an Exception only: of TimedOut it is a line of the code made of the template.
    """
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _TEMPLATE_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def flat(error: BaseException) -> str:
    """Return what ``error`` says as one line."""
    return " ".join(str(error).split())
