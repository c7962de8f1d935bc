"""A Markdown file's YAML front matter, with the line each key stands on. Knows nothing of what the keys mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from lmlab.errors import PromptError

Where: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a value."""


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """``values`` of the front matter, the ``body`` after it, and ``body_line``, the body's first line in the file."""

    values: dict[str, Any]
    body: str
    body_line: int
    lines: Mapping[Where, int]

    def line(self, where: Where) -> int:
        """Return the line of the value at ``where``, else of the nearest value around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def parse(text: str, name: str) -> FrontMatter:
    """Split and read ``text``; ``name`` is what errors call it. Raises PromptError with the line."""
    lines = text.splitlines(keepends=True)
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if len(fences) < 2 or fences[0] != 0:
        raise PromptError(f"{name}, line 1: begin with front matter: a line ---, YAML keys, and a line --- again")
    source, body = "".join(lines[1 : fences[1]]), "".join(lines[fences[1] + 1 :])
    try:
        node = yaml.compose(source, Loader=yaml.SafeLoader)
        found: dict[Where, int] = {}
        if node is not None:
            _note_lines(node, (), found, name)
        values = yaml.safe_load(source)
    except yaml.MarkedYAMLError as error:
        # Line 1 of the file is the fence, and marks count from 0.
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise PromptError(f"{name}, line {line}: the front matter is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise PromptError(f"{name}: the front matter is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise PromptError(f"{name}, line 2: write the front matter as keys and values, such as name: {name}")
    return FrontMatter(values, body, fences[1] + 2, found)


def _note_lines(node: yaml.Node, where: Where, found: dict[Where, int], name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            label = str(key.value)
            line = key.start_mark.line + 2
            if (*where, label) in found:
                raise PromptError(f"{name}, line {line}: {label!r} is there twice; keep one")
            found[(*where, label)] = line
            _note_lines(value, (*where, label), found, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*where, index)] = value.start_mark.line + 2
            _note_lines(value, (*where, index), found, name)
