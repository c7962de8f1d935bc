"""The part of Jinja2 that a prompt template is written in. A template is a text with places in it, not a program.

Templates come from anywhere, so none is trusted: there are no files, no macros, no attributes but those in ``filters``,
and each value that an operation makes is weighed before it is there. Nothing is worked out while compiling.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from functools import cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from lmlab.prompting.budget import TooMuch, made, spend, weigh
from lmlab.prompting.filters import FILTERS, attributes, checked_method

_STATEMENTS: tuple[type[nodes.Node], ...] = (
    nodes.Output,
    nodes.If,
    nodes.For,
    nodes.Assign,
    nodes.AssignBlock,
    nodes.With,
    nodes.FilterBlock,
    # What autoescape is wrapped in.
    nodes.Scope,
)
_MOST_NUMBERS = 100_000
_NAMES: dict[type[nodes.Node], str] = {
    nodes.FromImport: "from",
    nodes.CallBlock: "call",
    nodes.ScopedEvalContextModifier: "autoescape",
}


class _Checked(CodeGenerator):
    """Writes a call where Jinja2's own would make a value with nobody looking."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.made(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.made(")
        super().visit_Dict(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        # What a loop or an assignment has on its left is no value.
        is_value = node.ctx == "load"
        self.write("environment.made(" if is_value else "")
        super().visit_Tuple(node, frame)
        self.write(")" if is_value else "")


class _Namespace(Namespace):
    """Is never written out: one within another could be endless."""

    def __repr__(self) -> str:
        return "<namespace>"


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
    code_generator_class = _Checked

    @staticmethod
    def made(value: Any) -> Any:
        return made(value)

    @staticmethod
    def joined(parts: Iterable[Any]) -> str:
        return _concat([_text(part) for part in parts])

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        return attr in attributes(obj)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        there = ", ".join(sorted(attributes(obj))) or "nothing"
        message = f"{attribute!r} may not be read of {type(obj).__name__} in a template: there is {there}"
        return self.undefined(message, name=attribute, obj=obj, exc=jinja2.exceptions.SecurityError)

    def wrap_str_format(self, value: Any) -> Callable[..., Any] | None:
        # Asked by the sandbox for every attribute, which is why it serves for others than format.
        return checked_method(value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        found = super().call(__context, __obj, *args, **kwargs)
        return made(list(found) if isinstance(found, (ItemsView, KeysView, ValuesView)) else found)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise TooMuch("% does not write values into text in a template: put them there as {{ value }}")
        if operator == "**" and (abs(left) > 10_000 or abs(right) > 64):
            raise TooMuch("a power this large is not allowed in a template")
        spend(_weight_of_result(operator, left, right))
        found = super().call_binop(context, operator, left, right)
        # Spent before it was made; a number is not known before.
        weigh(found)
        return found


def _weight_of_result(operator: str, left: Any, right: Any) -> int:
    sized = (str, list, tuple)
    if operator == "+" and isinstance(left, sized) and isinstance(right, sized):
        return weigh(left) + weigh(right)
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(many, sized) and isinstance(times, int):
                return weigh(many) * max(times, 0)
    return 0


def _range(*limits: int) -> range:
    found = range(*limits)
    # Not len(found), which fails for what is much longer.
    if found[_MOST_NUMBERS:]:
        raise TooMuch(f"range: {_MOST_NUMBERS:,} numbers at most")
    return found


def _text(value: Any) -> str:
    """Return what is written for ``value``, weighed."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (int, float, list, tuple, dict, Undefined)) or _is_date(value):
        return made(str(made(value)))
    raise TooMuch(f"a template writes text, numbers, lists and mappings, and this is a {type(value).__name__}")


def _is_date(value: object) -> bool:
    # YAML makes dates of what looks like one.
    return hasattr(value, "isoformat")


@jinja2.pass_context
def _finalize(_context: Context, value: Any) -> str:
    """As ``_text``. What takes the context is never called while compiling."""
    return _text(value)


def _concat(texts: Iterable[str]) -> str:
    parts = list(texts)
    spend(sum(map(len, parts)))
    return "".join(parts)


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """Return what parses and compiles every prompt template."""
    made = _Sandbox(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, optimized=False, finalize=_finalize
    )
    made.filters = dict(FILTERS)
    made.globals = {"range": _range, "dict": dict, "namespace": _Namespace}
    # Jinja2 has it for block assignments and filter blocks.
    made.concat = _concat  # type: ignore[method-assign]
    return made


def parse(source: str) -> nodes.Template:
    """Return the tree. Raises jinja2.TemplateSyntaxError when it is not valid."""
    try:
        return environment().parse(source)
    except (RecursionError, MemoryError):
        raise jinja2.TemplateSyntaxError("it is nested too deeply", 1) from None


def refusals(tree: nodes.Template) -> Iterator[tuple[int, str]]:
    """Yield line and message of all that is Jinja2 but not for a prompt template."""
    for node in tree.find_all(nodes.Node):
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            name = _NAMES.get(type(node), type(node).__name__.lower())
            yield node.lineno, f"{{% {name} %}} is not for prompt templates: there are if, for, set, with and filter"
        elif isinstance(node, nodes.For) and node.recursive:
            yield node.lineno, "a loop may not be recursive in a prompt template"
        elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
            yield (
                node.lineno,
                f"there is no filter {node.name!r} in prompt templates: there are {', '.join(sorted(FILTERS))}",
            )
