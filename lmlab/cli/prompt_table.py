"""Prompt templates as rows: a table for people, fields between tabs for programs. Knows nothing of where they are kept."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.prompting import PromptTemplate

_FIELDS = ("name", "description", "inputs", "examples", "technique", "source")
_OWN_MARK = " *"
_GAP = 2
# Where a terminal leaves less, lines are longer than it.
_LEAST = 30


@dataclass(frozen=True, slots=True)
class Row:
    """A template by the ``name`` that finds it; ``own``: it is the user's."""

    name: str
    path: Path
    own: bool
    template: PromptTemplate

    def to_dict(self) -> dict[str, Any]:
        template = self.template
        return {
            "name": self.name,
            "description": template.description,
            "inputs": [
                {"name": name, "description": given.description, "required": given.required, "default": given.default}
                for name, given in template.inputs.items()
            ],
            "examples": len(template.examples),
            "reasoned": sum(1 for example in template.examples if example.reasoning),
            "technique": template.technique,
            "shots": template.shots,
            "style": template.style,
            "source": _source(self),
            "path": str(self.path),
        }


def tab_separated(rows: Sequence[Row]) -> str:
    """Return a header and a line each; a tab or line end within a field becomes a space. Optional inputs end in ``?``."""
    lines: list[tuple[str, ...]] = [_FIELDS]
    for row in rows:
        template = row.template
        values = (
            row.name,
            template.description,
            _inputs(row),
            len(template.examples),
            template.technique,
            _source(row),
        )
        lines.append(tuple(" ".join(str(value).split()) for value in values))
    return "".join("\t".join(line) + "\n" for line in lines)


def table(rows: Sequence[Row]) -> str:
    """Return a name a row and, beside it, what the template does, takes and has, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = [row.name + (_OWN_MARK if row.own else "") for row in rows]
    width = max(map(len, names), default=0) + _GAP
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
    drawn.add_column(width=width - _GAP, no_wrap=True)
    drawn.add_column(width=max(shutil.get_terminal_size().columns - width, _LEAST))
    for name, row in zip(names, rows, strict=True):
        drawn.add_row(Text(name), Text(f"{one_line(row.template.description)}\n{one_line(_details(row))}"))
    # Not drawn by rich itself: stdout has one owner, which makes what it shows on a terminal safe.
    console = Console(
        file=io.StringIO(), color_system=None, width=max(shutil.get_terminal_size().columns, width + _LEAST)
    )
    with console.capture() as capture:
        console.print(drawn)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _details(row: Row) -> str:
    template = row.template
    count = len(template.examples)
    examples = "no examples" if not count else "1 example" if count == 1 else f"{count} examples"
    return f"{_inputs(row) or 'no inputs'} · {examples} · {template.technique}"


def _inputs(row: Row) -> str:
    inputs = row.template.inputs.items()
    return ", ".join(name if given.required else f"{name}?" for name, given in inputs)


def _source(row: Row) -> str:
    return "user" if row.own else "lmlab"
