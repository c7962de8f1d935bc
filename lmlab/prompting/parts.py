"""A template's body in two: the instruction, the same for every example and row, and the part that holds the input.

Knows nothing of examples' values, of techniques or of models.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
from jinja2 import meta, nodes

from lmlab.prompting.language import environment, parse
from lmlab.prompting.sandbox import Compiled

_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)*\n")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the body that is a template of its own. ``line``: its first line in the body, from 1."""

    source: str
    line: int
    compiled: Compiled
    names: frozenset[str]

    @classmethod
    def of(cls, source: str, line: int = 1) -> Part:
        """Raises jinja2.TemplateSyntaxError when ``source`` is not valid."""
        return cls(source, line, Compiled(source), frozenset(variables(source)))

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text without blank lines around it. Raises RenderingError."""
        return self.compiled.render(values).strip("\n")

    def beginning(self, known: Mapping[str, Any]) -> str:
        """Return what every rendering begins with when only ``known`` is the same in all; it ends in no white space.

        Raises RenderingError for what fails in every rendering.
        """
        tree = parse(self.source)
        shared: list[nodes.Node] = []
        for node in _one_by_one(tree.body):
            # Its own variables are looked for in all that came before, so that what a {% set %} made counts as known.
            if meta.find_undeclared_variables(_template([*shared, node])) - set(known):
                break
            shared.append(node)
        return Compiled(_template(shared)).render(known).lstrip("\n").rstrip()


def variables(source: str) -> set[str]:
    """Return the names that ``source`` takes from outside. Raises jinja2.TemplateSyntaxError when it is not valid."""
    return meta.find_undeclared_variables(parse(source)) - set(environment().globals)


def split(body: str, given: Collection[str]) -> tuple[Part | None, Part]:
    """Return the instruction and the input part; ``given`` are the inputs that examples give.

    The instruction is the leading paragraphs that use none of ``given``; a Jinja2 block is never cut. When that would
    be all of them there is no instruction.
    """
    end = start = 0
    if not variables(body) & set(given):
        return None, Part.of(body)
    for end_of_paragraph, next_paragraph in _cuts(body):
        if variables(body[:end_of_paragraph]) & set(given):
            break
        end, start = end_of_paragraph, next_paragraph
    if not end or not variables(body[start:]) & set(given):
        return None, Part.of(body)
    instruction = Part.of(body[:end])
    return instruction, Part.of(body[start:], body.count("\n", 0, start) + 1)


def _cuts(body: str) -> Iterator[tuple[int, int]]:
    """Yield where a paragraph ends and the next begins, where both sides are templates of their own."""
    for gap in _BLANK_LINES.finditer(body):
        before, after = body[: gap.start()], body[gap.end() :]
        if not before.strip() or not after.strip():
            continue
        try:
            tree, needed = parse(before), variables(after)
        except jinja2.TemplateSyntaxError:
            continue
        if not _made(tree) & needed:
            yield gap.start(), gap.end()


def _made(tree: nodes.Template) -> set[str]:
    """Return the names that ``tree`` makes itself: what comes after it may use them."""
    return {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}


def _one_by_one(body: list[nodes.Node]) -> Iterator[nodes.Node]:
    for node in body:
        if isinstance(node, nodes.Output):
            yield from (nodes.Output([child], lineno=child.lineno) for child in node.nodes)
        else:
            yield node


def _template(body: list[nodes.Node]) -> nodes.Template:
    tree = nodes.Template(body, lineno=1)
    tree.set_environment(environment())
    return tree
