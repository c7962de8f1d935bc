"""A Markdown file's YAML front matter, with the line each key stands on. Knows nothing of what the keys mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from yaml import reader

Where: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_MAX_VALUES = 100_000


class NotFrontMatter(Exception):
    """What stands at ``line`` of the file is none."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """``values`` of the front matter, the ``body`` after it, and ``body_line``, the body's first line in the file.

    ``problems`` are keys that stand there twice: line and message of each.
    """

    values: dict[str, Any]
    body: str
    body_line: int
    lines: Mapping[Where, int]
    problems: tuple[tuple[int, str], ...] = ()

    def items(self, key: str) -> tuple[int, ...]:
        """Return the line of each item of the list that ``key`` is."""
        return tuple(line for where, line in self.lines.items() if len(where) == 2 and where[0] == key)

    def line(self, where: Where) -> int:
        """Return the line of the value at ``where``, else of the nearest value around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def parse(text: str) -> FrontMatter:
    """Split and read ``text``. Raises NotFrontMatter with the line."""
    lines = text.splitlines(keepends=True)
    fences = [number for number, line in enumerate(lines) if line.rstrip() == "---"]
    if len(fences) < 2 or fences[0] != 0:
        raise NotFrontMatter(1, "begin with front matter: a line ---, YAML keys, and a line --- again")
    source, body = "".join(lines[1 : fences[1]]), "".join(lines[fences[1] + 1 :])
    try:
        node = yaml.compose(source, Loader=yaml.SafeLoader)
        found: dict[Where, int] = {}
        twice: list[tuple[int, str]] = []
        if node is not None:
            _note_lines(node, (), found, twice)
        values = yaml.safe_load(source)
    except yaml.MarkedYAMLError as error:
        # Line 1 of the file is the fence, and marks count from 0.
        line = error.problem_mark.line + 2 if error.problem_mark else 1
        raise NotFrontMatter(line, f"the front matter is not valid YAML: {error.problem}") from None
    except reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 2
        message = f"the front matter is not valid YAML: character U+{ord(source[error.position]):04X} is not allowed"
        raise NotFrontMatter(line, message) from None
    except RecursionError:
        raise NotFrontMatter(2, "the front matter is nested too deeply, or holds too much") from None
    # Such as the 30th of February, or a number with thousands of digits.
    except ValueError as error:
        raise NotFrontMatter(2, f"the front matter holds a value that cannot be: {error}") from None
    if not isinstance(values, dict):
        raise NotFrontMatter(2, "write the front matter as keys and values, such as name: my-task")
    return FrontMatter(values, body, fences[1] + 2, found, tuple(twice))


def _note_lines(node: yaml.Node, where: Where, found: dict[Where, int], twice: list[tuple[int, str]]) -> None:
    # A few aliases of aliases can stand for more values than there is memory.
    if len(found) > _MAX_VALUES:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            label = str(key.value)
            line = key.start_mark.line + 2
            if (*where, label) in found:
                twice.append((line, f"{label!r} is there twice; keep one"))
            found[(*where, label)] = line
            _note_lines(value, (*where, label), found, twice)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[(*where, index)] = value.start_mark.line + 2
            _note_lines(value, (*where, index), found, twice)
