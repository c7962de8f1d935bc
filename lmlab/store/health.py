"""The sessions' database looked at without changing it: whether it is whole, whose it is, and how large. Never migrates."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lmlab.errors import StoreError
from lmlab.store.connection import BUSY_TIMEOUT_S, explain
from lmlab.store.schema import MIGRATIONS, version

NEWEST = len(MIGRATIONS)
"""The schema that this lmlab writes."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Health:
    """``size`` and ``log`` (what is not yet in the file itself) in bytes. ``damage``: what SQLite found, a line each."""

    schema: int
    sessions: int
    turns: int
    size: int
    log: int
    damage: tuple[str, ...]


def health(path: Path) -> Health | None:
    """Return how the database at ``path`` is; None when there is none yet. Raises StoreError when it cannot be read, or is
    another program's or a newer lmlab's.
    """
    if not path.exists():
        return None
    try:
        # Read only: what is looked at for damage must not be written to.
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        ) as connection:
            return _read(connection, path)
    except sqlite3.Error as error:
        raise StoreError(explain(error, path)) from error


def _read(connection: sqlite3.Connection, path: Path) -> Health:
    schema = version(connection, str(path), NEWEST)
    log = path.with_name(f"{path.name}-wal")
    return Health(
        schema=schema,
        sessions=_count(connection, "session") if schema else 0,
        turns=_count(connection, "turn") if schema else 0,
        size=path.stat().st_size,
        log=log.stat().st_size if log.exists() else 0,
        # Links cannot be followed through broken pages.
        damage=tuple(_broken_pages(connection) or _broken_links(connection)),
    )


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def _broken_pages(connection: sqlite3.Connection) -> list[str]:
    said = [str(line) for (line,) in connection.execute(f"PRAGMA quick_check({_SHOWN})")]
    return [] if said == ["ok"] else said


def _broken_links(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN)
    return [f"{table} row {row} names a {parent} that is not there" for table, row, parent, _ in rows]
