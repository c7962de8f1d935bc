"""Jinja2 for prompt templates: sandboxed, and bounded in time and size. Knows nothing of what is rendered.

Templates come from anywhere, so none is trusted; what a row puts into one is data and never rendered itself.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

TIME_LIMIT_S = 2.0
MAX_CHARACTERS = 1_000_000
"""Characters that a rendering may have, and characters or items that one operation in it may make."""

# Without any of these a template runs from its beginning to its end and cannot take long.
_CAN_TAKE_LONG: tuple[type[nodes.Node], ...] = (
    nodes.For,
    nodes.Macro,
    nodes.CallBlock,
    nodes.Call,
    nodes.Filter,
    nodes.FilterBlock,
)
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
# A width or precision of five digits or more, or one that is an argument itself.
_WIDE = re.compile(r"%[^a-zA-Z%]*(\*|\d{5})|\{[^{}]*:[^{}]*(\{|\d{5})")
_TEMPLATE_FILE = "<template>"
"""What Jinja2 calls the file of a template that came as text."""


class RenderingError(Exception):
    """A rendering failed at ``line`` of its source (from 1), if that is known. ``forbidden``: it is what no value mends."""

    def __init__(self, message: str, line: int | None, forbidden: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.forbidden = forbidden


class _TooMuch(Exception):
    """More was asked for than a template may have."""


class _TimedOut(BaseException):
    """Raised in the midst of a rendering; not an Exception, so that nothing in between can take it for its own."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # One call of these can fill the memory, in C, where no time limit looks.
        if isinstance(obj, str) and attr in _PADDING:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _check_widths(value.__self__)
        return wrapped

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        if operator == "**" and (abs(left) > 10_000 or abs(right) > 64):
            raise _TooMuch("a power this large is not allowed in a template")
        if _result_size(operator, left, right) > MAX_CHARACTERS:
            raise _TooMuch(f"one operation may make {MAX_CHARACTERS:,} characters or items at most")
        return super().call_binop(context, operator, left, right)


def _result_size(operator: str, left: Any, right: Any) -> int:
    sized = (str, list, tuple)
    if operator == "+" and isinstance(left, sized) and isinstance(right, sized):
        return len(left) + len(right)
    if operator == "*":
        return max(
            (
                len(many) * times
                for many, times in ((left, right), (right, left))
                if isinstance(many, sized) and isinstance(times, int)
            ),
            default=0,
        )
    return 0


def _check_widths(pattern: str) -> None:
    if _WIDE.search(pattern):
        raise _TooMuch("a width this large, or one that is computed, is not allowed in a template")


def _format(pattern: str, *arguments: object, **named: object) -> str:
    # As Jinja2's own filter, which formats with %.
    _check_widths(pattern)
    return str(pattern) % (named or arguments)


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """Return what parses and compiles every prompt template."""
    made = _Sandbox(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["format"] = _format
    # The same row is to give the same prompt.
    del made.filters["random"], made.globals["lipsum"]
    for name in ("center", "indent"):
        made.filters[name] = _bounded_width(made.filters[name])
    return made


def _bounded_width(own: Callable[..., str]) -> Callable[..., str]:
    def bounded(text: str, width: int | str = 4, *arguments: Any, **named: Any) -> str:
        if isinstance(width, int) and width > 1_000:
            raise _TooMuch("a width over 1,000 is not allowed in a template")
        return own(text, width, *arguments, **named)

    return bounded


class Compiled:
    """A template ready to be rendered often. Raises jinja2.TemplateSyntaxError when ``source`` is not valid."""

    def __init__(self, source: str | nodes.Template) -> None:
        tree = environment().parse(source) if isinstance(source, str) else source
        self._guarded = any(True for _ in tree.find_all(_CAN_TAKE_LONG))
        try:
            self._template = environment().from_string(source)
        # Jinja2 makes Python of it, and Python has limits of its own, such as 20 loops within one another.
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise jinja2.TemplateSyntaxError(f"it cannot be compiled: {_flat(error)}", 1) from None

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text. Raises RenderingError, also for one that takes too long or becomes too large."""
        try:
            with _time_limit() if self._guarded else _no_limit():
                return self._bounded(values)
        except _TimedOut as error:
            # Jinja2 corrects the lines in the trace of an Exception only.
            line = _template_line(error)
            place = self._template.get_corresponding_lineno(line) if line else None
            message = f"it took over {TIME_LIMIT_S:g} s and was stopped: does a loop never end?"
            raise RenderingError(message, place, forbidden=True) from None
        except (jinja2.exceptions.SecurityError, _TooMuch, MemoryError, RecursionError, OverflowError) as error:
            raise RenderingError(_flat(error) or "it takes too much memory", _template_line(error), True) from None
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise RenderingError(_flat(error), _template_line(error)) from None

    def _bounded(self, values: Mapping[str, Any]) -> str:
        pieces, size = [], 0
        for piece in self._template.generate(values):
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise _TooMuch(f"the text became longer than {MAX_CHARACTERS:,} characters")
            pieces.append(piece)
        return "".join(pieces)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise _TimedOut in what runs inside after the limit, at its next line of a template or call.

    By tracing this thread: nothing else stops Python code from within, at a well-defined place.
    """
    deadline = time.monotonic() + TIME_LIMIT_S

    def trace(frame: FrameType, _event: str, _value: object) -> Any:
        if time.monotonic() > deadline:
            raise _TimedOut
        return trace if frame.f_code.co_filename == _TEMPLATE_FILE else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def _no_limit() -> Iterator[None]:
    yield


def _template_line(error: BaseException) -> int | None:
    """Return the line of the template in which ``error`` arose, the innermost if there are several."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _TEMPLATE_FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
