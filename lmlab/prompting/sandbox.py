"""Jinja2 for prompt templates, bounded in time and size. Knows nothing of what is rendered.

What a row puts into a template is data and never rendered itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import jinja2
from jinja2 import nodes

from lmlab.prompting.budget import TooMuch, fresh_budget
from lmlab.prompting.language import environment, parse, refusals
from lmlab.template_limits import TimedOut, flat, template_line, time_limit

TIME_LIMIT_S = 2.0
MAX_CHARACTERS = 1_000_000
"""Characters that a rendering may have."""

# Without any of these a template runs from its beginning to its end and cannot take long.
_CAN_TAKE_LONG: tuple[type[nodes.Node], ...] = (nodes.For, nodes.Call, nodes.Filter, nodes.FilterBlock)
# What an expression or a filter raises for values that it cannot take.
_OF_A_TEMPLATE = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    RuntimeError,
)


class RenderingError(Exception):
    """A rendering failed at ``line`` of its source (from 1), if that is known. ``forbidden``: it is what no value mends."""

    def __init__(self, message: str, line: int | None, forbidden: bool = False) -> None:
        super().__init__(message)
        self.line = line
        self.forbidden = forbidden


class Compiled:
    """A template ready to be rendered often. Raises jinja2.TemplateSyntaxError when ``source`` is not valid."""

    def __init__(self, source: str | nodes.Template) -> None:
        try:
            with time_limit(TIME_LIMIT_S):
                tree = parse(source) if isinstance(source, str) else source
                for line, message in refusals(tree):
                    raise jinja2.TemplateSyntaxError(message, line)
                self._guarded = any(True for _ in tree.find_all(_CAN_TAKE_LONG))
                self._template = environment().from_string(source)
        except TimedOut:
            raise jinja2.TemplateSyntaxError(f"compiling it took over {TIME_LIMIT_S:g} s: make it shorter", 1) from None
        # Jinja2 makes Python of it, and Python has limits of its own, such as 20 loops within one another.
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise jinja2.TemplateSyntaxError(f"it cannot be compiled: {flat(error)}", 1) from None

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text. Raises RenderingError, also for one that takes too long or becomes too large."""
        try:
            with fresh_budget(), time_limit(TIME_LIMIT_S) if self._guarded else nullcontext():
                return self._bounded(values)
        except TimedOut as error:
            line = template_line(error)
            place = self._template.get_corresponding_lineno(line) if line else None
            message = f"it took over {TIME_LIMIT_S:g} s and was stopped: does a loop never end?"
            raise RenderingError(message, place, forbidden=True) from None
        except (jinja2.exceptions.SecurityError, TooMuch, MemoryError, RecursionError, OverflowError) as error:
            raise RenderingError(flat(error) or "it takes too much memory", template_line(error), True) from None
        except _OF_A_TEMPLATE as error:
            raise RenderingError(flat(error), template_line(error)) from None

    def _bounded(self, values: Mapping[str, Any]) -> str:
        pieces, size = [], 0
        for piece in self._template.generate(values):
            size += len(piece)
            if size > MAX_CHARACTERS:
                raise TooMuch(f"the text became longer than {MAX_CHARACTERS:,} characters")
            pieces.append(piece)
        return "".join(pieces)
