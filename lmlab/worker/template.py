"""A chat template: Jinja2 source from a GGUF, rendered in a sandbox, within a time limit.

Templates come with model files, so they are not trusted. Knows messages and text, not tokens.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lmlab.errors import TemplateError

TIME_LIMIT_S = 5.0
LONGEST_REPEAT = 1_000_000
"""Characters or items that ``*`` may make in a template; without a bound one expression could take all memory."""


class _Refused(Exception):
    """The template called ``raise_exception``: it refuses these messages."""


class _TimedOut(BaseException):
    """Raised inside the rendering thread; not an Exception, so that nothing in between can take it for its own."""


class _Generation(Extension):
    """``{% generation %}``, which marks replies for training: here just its content."""

    tags = {"generation"}  # noqa: RUF012 - Jinja2's own protocol

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > 10_000 or abs(right) > 64):
            raise OverflowError("a power this large is not allowed in a template")
        for sized, times in ((left, right), (right, left)):
            if isinstance(sized, (str, list, tuple)) and isinstance(times, int) and len(sized) * times > LONGEST_REPEAT:
                raise OverflowError(f"a repetition over {LONGEST_REPEAT:,} is not allowed in a template")
        return super().call_binop(context, operator, left, right)


def _raise_exception(message: object) -> None:
    raise _Refused(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None, **_: object) -> str:
    # As transformers has it: no HTML escapes, unlike Jinja2's own filter.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _environment() -> _Sandbox:
    # trim_blocks and lstrip_blocks: what templates written for transformers expect.
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.filters["tojson"] = _tojson
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

    def render(self, messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool = True) -> str:
        """Return the text of ``messages``. Raises TemplateError, with the line, when it cannot be had."""
        values = {
            **self._special,
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": generation_prompt,
        }
        outcome: list[str | BaseException] = []

        def work() -> None:
            try:
                outcome.append(self._template.render(values))
            # Whatever a stranger's template raises is reported as its error; a thread has nowhere to raise it.
            except BaseException as error:  # noqa: BLE001
                outcome.append(error)

        thread = threading.Thread(target=work, name="chat-template", daemon=True)
        thread.start()
        thread.join(self._time_limit_s)
        while thread.is_alive():
            # Python cannot end a thread, but it can raise in it; a template is Python code all the way.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimedOut))
            thread.join(0.1)
        result = outcome[0]
        if isinstance(result, str):
            return result
        raise self._explain(result)

    def _explain(self, error: BaseException) -> TemplateError:
        line = _template_line(error)
        where = f" at line {line}" if line else ""
        if isinstance(error, _TimedOut):
            return TemplateError(
                f"the chat template took over {self._time_limit_s:g} s{where} and was stopped; use --raw, or another model"
            )
        if isinstance(error, _Refused):
            return TemplateError(f"the model's chat template refuses these messages{where}: {_flat(error)}")
        kind = type(error).__name__
        return TemplateError(f"the chat template failed{where}: {kind}: {_flat(error)}; use --raw, or another model")


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())


def _template_line(error: BaseException) -> int | None:
    """Return the line of the template in which ``error`` arose, the innermost if there are several."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
