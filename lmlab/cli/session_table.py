"""Sessions as rows: a table for people, fields between tabs for programs. Knows nothing of where sessions are kept."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.store import Found, Session, Snippet

_FIELDS = ("id", "title", "model", "messages", "snapshot_bytes", "updated")
_TITLE, _MODEL = 1, 2
_NUMBERS = ("messages", "on disk")
_TITLE_LEAST = 12
_MODEL_MOST = 24
_GAP = 2
_INDENT = " " * 8


@dataclass(frozen=True, slots=True)
class Row:
    """A session, how many ``messages`` its selected path has, and the bytes its snapshots take on disk.

    ``match`` is what a search found in its messages.
    """

    session: Session
    messages: int
    snapshot_bytes: int
    match: Snippet | None = None

    def to_dict(self) -> dict[str, Any]:
        session = self.session
        match = {} if self.match is None else {"match": str(self.match)}
        return {
            "id": session.id,
            "title": session.title,
            "model": session.model,
            "messages": self.messages,
            "snapshot_bytes": self.snapshot_bytes,
            "created": _iso(session.created),
            "updated": _iso(session.updated),
            **match,
        }


def rows(
    sessions: Sequence[Session],
    lengths: Mapping[str, int],
    snapshots: Mapping[str, int],
    found: Sequence[Found] | None = None,
) -> list[Row]:
    """Return a row for each of ``sessions``; ``lengths`` and ``snapshots`` leave out those without any."""
    matches = {one.session.id: one.snippet for one in found or ()}
    return [
        Row(session, lengths.get(session.id, 0), snapshots.get(session.id, 0), matches.get(session.id))
        for session in sessions
    ]


def tab_separated(rows: Sequence[Row], matches: bool) -> str:
    """Return a header and a line each; a tab or line end within a field becomes a space.

    ``matches``: with a field of what a search found.
    """
    fields = (*_FIELDS, "match") if matches else _FIELDS
    lines: list[tuple[str, ...]] = [fields]
    for row in rows:
        values = {"match": None, **row.to_dict()}
        lines.append(tuple(" ".join(str("" if values[name] is None else values[name]).split()) for name in fields))
    return "".join("\t".join(line) + "\n" for line in lines)


def table(rows: Sequence[Row]) -> str:
    """Return the rows in columns as wide as the terminal, times in the local zone; a long title is cut with ``…``."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heads = ("id", "title", "model", "messages", "on disk", "last written")
    cells = [heads, *(_cells(row) for row in rows)]
    wanted = [max(cell_len(line[column]) for line in cells) for column in range(len(heads))]
    width = shutil.get_terminal_size().columns
    # rich would cut every column alike, the ids too.
    wanted[_MODEL] = min(wanted[_MODEL], _MODEL_MOST)
    others = sum(wanted) - wanted[_TITLE] + _GAP * (len(heads) - 1)
    wanted[_TITLE] = max(min(wanted[_TITLE], width - others), _TITLE_LEAST)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for head, cells_wide in zip(heads, wanted, strict=True):
        justify: Literal["left", "right"] = "right" if head in _NUMBERS else "left"
        table.add_column(head, width=cells_wide, no_wrap=True, overflow="ellipsis", justify=justify)
    for line in cells[1:]:
        table.add_row(*(Text(cell) for cell in line))
    # Not drawn by rich itself: stdout has one owner, which makes what it shows on a terminal safe.
    console = Console(file=io.StringIO(), color_system=None, width=others + wanted[_TITLE])
    with console.capture() as capture:
        console.print(table)
    head, *drawn = (line.rstrip() + "\n" for line in capture.get().splitlines())
    return head + "".join(line + _match_line(row, width) for line, row in zip(drawn, rows, strict=True))


def _match_line(row: Row, width: int) -> str:
    """Return the line below a row that a search found something in, no wider than the terminal."""
    from rich.text import Text

    if row.match is None:
        return ""
    line = Text(f"{_INDENT}{row.match}")
    line.truncate(max(width, len(_INDENT) + _TITLE_LEAST), overflow="ellipsis")
    return f"{line.plain}\n"


def _cells(row: Row) -> tuple[str, ...]:
    from lmlab.models import size_text

    session = row.session
    model = session.model or ""
    return (
        session.id,
        one_line(session.title) or "(no title)",
        # Of a path the file: the folders would leave no room for titles.
        one_line(PurePath(model).name if PurePath(model).is_absolute() else model),
        str(row.messages),
        size_text(row.snapshot_bytes) if row.snapshot_bytes else "",
        session.updated.astimezone().strftime("%Y-%m-%d %H:%M"),
    )


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
