"""A chat template: Jinja2 source from a GGUF, rendered in a sandbox, within a time limit.

Templates come with model files, so they are not trusted. Knows messages and text, not tokens.
"""

from __future__ import annotations

import faulthandler
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmlab.errors import TemplateError
from lmlab.template_limits import TimedOut, flat, template_line, time_limit

TIME_LIMIT_S = 5.0
LONGEST_REPEAT = 1_000_000
"""Characters or items that ``*`` may make in a template; without a bound one expression could take all memory."""
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
# A width or precision of five digits or more, or one that is an argument itself.
_WIDE = re.compile(r"%[^a-zA-Z%]*(\*|\d{5})|\{[^{}]*:[^{}]*(\{|\d{5})")


class _Refused(Exception):
    """The template called ``raise_exception``: it refuses these messages."""


class _Generation(Extension):
    """``{% generation %}``, which marks replies for training: here just its content."""

    tags = {"generation"}  # noqa: RUF012 - Jinja2's own protocol

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # One call of these can fill the memory, in C, where no time limit looks; no chat template needs them.
        if isinstance(obj, str) and attr in _PADDING:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        _check_widths(value.__self__)
        return wrapped

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > 10_000 or abs(right) > 64):
            raise OverflowError("a power this large is not allowed in a template")
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        for sized, times in ((left, right), (right, left)):
            if isinstance(sized, (str, list, tuple)) and isinstance(times, int) and len(sized) * times > LONGEST_REPEAT:
                raise OverflowError(f"a repetition over {LONGEST_REPEAT:,} is not allowed in a template")
        return super().call_binop(context, operator, left, right)


def _check_widths(pattern: str) -> None:
    if _WIDE.search(pattern):
        raise OverflowError("a width this large, or one that is computed, is not allowed in a template")


def _format(pattern: str, *arguments: object, **named: object) -> str:
    # As Jinja2's own filter, which formats with %.
    _check_widths(pattern)
    return str(pattern) % (named or arguments)


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # As transformers has it: no HTML escapes, unlike Jinja2's own filter.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> _Sandbox:
    # trim_blocks and lstrip_blocks: what templates written for transformers expect.
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
    environment.globals["raise_exception"] = _raise_exception
    environment.filters["tojson"] = _tojson
    environment.filters["format"] = _format
    del environment.filters["center"]
    return environment


class ChatTemplate:
    """One compiled template. ``special`` are the tokens a template may name, such as ``bos_token``.

    Raises TemplateError, with the line, when ``source`` is no valid template.
    """

    def __init__(self, source: str, special: Mapping[str, str], time_limit_s: float = TIME_LIMIT_S) -> None:
        self._special = dict(special)
        self._time_limit_s = time_limit_s
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template is not valid at line {error.lineno}: {error.message}; use --raw, or another model"
            ) from None
        # Jinja2 makes Python of it, and Python has limits of its own, such as 20 loops within one another.
        except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise TemplateError(
                f"the chat template cannot be compiled: {flat(error)}; use --raw, or another model"
            ) from None

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool = True, now: datetime | None = None
    ) -> str:
        """Return the text of ``messages``; ``now`` is the time that a template may put into it.

        Raises TemplateError, with the line, when it cannot be had.
        """
        values = {
            **self._special,
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": generation_prompt,
            "strftime_now": lambda pattern: (now or datetime.now()).strftime(pattern),
        }
        try:
            return _within(self._time_limit_s, lambda: self._template.render(values))
        except TimedOut as error:
            raise self._explain(error) from None
        # Whatever a stranger's template raises is reported as its error.
        except Exception as error:  # noqa: BLE001
            raise self._explain(error) from None

    def _explain(self, error: BaseException) -> TemplateError:
        line = template_line(error)
        if line and isinstance(error, TimedOut):
            # Jinja2 corrects the lines in the trace of an Exception only.
            line = self._template.get_corresponding_lineno(line)
        where = f" at line {line}" if line else ""
        if isinstance(error, TimedOut):
            return TemplateError(
                f"the chat template took over {self._time_limit_s:g} s{where} and was stopped; use --raw, or another model"
            )
        if isinstance(error, _Refused):
            return TemplateError(f"the model's chat template refuses these messages{where}: {flat(error)}")
        kind = type(error).__name__
        return TemplateError(f"the chat template failed{where}: {kind}: {flat(error)}; use --raw, or another model")


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Return what ``work`` does, or raise TimedOut in it after ``seconds``."""
    # Where no trace looks, inside one long call in C, the process is ended, by a thread which needs nothing of Python's.
    faulthandler.dump_traceback_later(2 * seconds, exit=True)
    try:
        with time_limit(seconds):
            return work()
    finally:
        faulthandler.cancel_dump_traceback_later()
