"""The database's tables, as migrations that are only ever appended to. Knows nothing of what the rows mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from lmlab.errors import StoreError

APPLICATION_ID = 0x6C6D6C62
"""Marks the file as lmlab's own ("lmlb"), so that another program's database is never written to."""

# ``turn.chosen`` is the child last selected below a turn: choosing a branch again leads back to where one was in it.
# Deferred, so that a turn and the pointer to it can be written in either order.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE session (
            id TEXT PRIMARY KEY,
            title TEXT NOT NULL,
            created TEXT NOT NULL,
            updated TEXT NOT NULL,
            model TEXT,
            system TEXT,
            leaf INTEGER REFERENCES turn (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
        )
        """,
        """
        CREATE TABLE turn (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            session TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
            parent INTEGER REFERENCES turn (id) ON DELETE CASCADE,
            chosen INTEGER REFERENCES turn (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
            role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
            content TEXT NOT NULL,
            attachments TEXT NOT NULL DEFAULT '[]',
            created TEXT NOT NULL,
            status TEXT NOT NULL DEFAULT 'done' CHECK (status IN ('partial', 'done')),
            tokens BLOB,
            record TEXT
        )
        """,
        "CREATE INDEX turn_session ON turn (session)",
        "CREATE INDEX turn_parent ON turn (parent)",
        "CREATE INDEX session_updated ON session (updated)",
    ),
    # Without them, each turn that is removed has every other read, and every session, for what points at it.
    ("CREATE INDEX turn_chosen ON turn (chosen)", "CREATE INDEX session_leaf ON session (leaf)"),
    ("ALTER TABLE turn ADD COLUMN logprobs BLOB", "ALTER TABLE turn ADD COLUMN prompt TEXT"),
)


def migrate(connection: sqlite3.Connection, name: str, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the database up to the last migration, all or nothing. ``name`` is what errors call the file.

    Raises StoreError, having written nothing, for a database of a newer lmlab or of another program.
    """
    with _transaction(connection, "BEGIN"):
        if version(connection, name, len(migrations)) == len(migrations):
            return
    with _transaction(connection, "BEGIN IMMEDIATE"):
        # Read again: another process may have migrated while this one waited for the lock.
        for statements in migrations[version(connection, name, len(migrations)) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def version(connection: sqlite3.Connection, name: str, newest: int) -> int:
    """Return how many migrations the database has had; 0 for an empty one. Raises StoreError as ``migrate`` does."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or found or tables):
        raise StoreError(
            f"{name} is another program's database and was left untouched: "
            "move it aside, or set LMLAB_HOME to another folder"
        )
    if found > newest:
        raise StoreError(
            f"{name} was written by a newer lmlab (its schema is {found}, this lmlab knows {newest}): "
            "upgrade with `pip install --upgrade lmlab`, or set LMLAB_HOME to another folder"
        )
    return int(found)
