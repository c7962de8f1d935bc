"""Models as rows: a table for people, fields between tabs for programs. Knows nothing of where models are kept."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmlab.models import size_text
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.models.catalogue import Entry
    from lmlab.models.here import Found

_FIELDS = (
    *("ref", "source", "name", "architecture", "parameters", "quantization", "size", "context"),
    *("chat_template", "fits", "path"),
)
_HEADS = ("model", "kind", "weights", "quant", "on disk", "context", "chat", "fits")
_NUMBERS = {"weights", "on disk", "context"}
_GAP = 2
_LEAST = 24
_FITS = {"yes": "yes", "short": "short", "no": "no"}


def tab_separated(found: Sequence[Found], available: int) -> str:
    """Return a header and a line each; a tab or line end within a field becomes a space."""
    lines: list[Sequence[Any]] = [_FIELDS]
    for one in found:
        values = one.to_dict(available)
        lines.append([values[name] for name in _FIELDS])
    return "".join("\t".join(map(_field, line)) + "\n" for line in lines)


def table(found: Sequence[Found], available: int) -> str:
    """Return the models in columns as wide as the terminal; a long reference goes on in a second line."""
    return _drawn(_HEADS, [_cells(one, available) for one in found])


def catalogue(entries: Sequence[Entry], here: set[str], *, for_people: bool) -> str:
    """Return the names that can be fetched, each with what it is and whether it is here."""
    rows = [(entry.name, "here" if entry.name in here else "", entry.title) for entry in entries]
    if for_people:
        return _drawn(("name", "here", "what it is"), rows)
    named = [("name", "here", "title", "repository")]
    named += [(name, mark, title, entry.hub.repo) for (name, mark, title), entry in zip(rows, entries, strict=True)]
    return "".join("\t".join(map(_field, line)) + "\n" for line in named)


def count_text(count: int) -> str:
    """Return a number of weights as papers write it: 135M, 1.24B."""
    if count < 1_000_000:
        return f"{count:,}"
    if count < 999_500_000:
        return f"{count / 1e6:.0f}M"
    return f"{count / 1e9:.3g}B" if count < 999e9 else f"{count / 1e12:.3g}T"


def path_text(path: str) -> str:
    """Return a path with ~ for the person's own folder."""
    home = str(Path.home())
    return "~" + path[len(home) :] if path.startswith(home + os.sep) else path


def _cells(one: Found, available: int) -> tuple[str, ...]:
    facts = one.facts
    return (
        one_line(path_text(one.place.ref), 400),
        one_line(facts.architecture, 16),
        count_text(facts.parameters),
        one_line(facts.quantization, 10),
        size_text(facts.size),
        "" if facts.context is None else f"{facts.context:,}",
        "yes" if facts.chat_template else "no",
        _FITS[facts.fit(available)],
    )


def _drawn(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as they need, but for the widest, which gets what the terminal leaves."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wanted = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    wide = max(range(len(heads)), key=lambda column: wanted[column])
    others = sum(wanted) - wanted[wide] + _GAP * (len(heads) - 1)
    wanted[wide] = max(min(wanted[wide], shutil.get_terminal_size().columns - others), min(wanted[wide], _LEAST))
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for head, width in zip(heads, wanted, strict=True):
        drawn.add_column(head, width=width, overflow="fold", justify="right" if head in _NUMBERS else "left")
    for row in rows:
        drawn.add_row(*map(Text, row))
    # Not drawn by rich itself: stdout has one owner, which makes what it shows on a terminal safe.
    console = Console(file=io.StringIO(), color_system=None, width=others + wanted[wide])
    with console.capture() as capture:
        console.print(drawn)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _field(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(("" if value is None else str(value)).split())
