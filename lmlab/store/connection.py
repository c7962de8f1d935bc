"""One SQLite connection for all threads: private, durable, and every failure told in a line.

Knows nothing of sessions.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from lmlab.errors import LmlabError, StoreError
from lmlab.settings import private_folder
from lmlab.store.schema import migrate

Connect: TypeAlias = Callable[..., sqlite3.Connection]

BUSY_TIMEOUT_S = 10.0


class Connection:
    """Opens ``path``, made if need be (0600, in a 0700 folder), and brings its schema up to date.

    Write-ahead log, so that readers and one writer do not wait for each other; ``synchronous=FULL``, so that what is
    committed outlives a power cut.
    """

    def __init__(self, path: Path, connect: Connect = sqlite3.connect) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._told():
            _make_private(path)
            self._connection = connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                # Before anything that could write: this refuses what is not lmlab's.
                migrate(self._connection, str(path))
                with suppress(PermissionError):
                    path.chmod(0o600)
                self._use_write_ahead_log()
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside as one, or nothing of it. One inside another belongs to the outer."""
        with self._lock, self._told():
            self._depth += 1
            try:
                if self._depth == 1:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield
                if self._depth == 1:
                    self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back on some errors, a full disk among them.
                if self._depth == 1 and self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement and return the id of the row it inserted."""
        with self.transaction():
            return self._connection.execute(sql, values).lastrowid or 0

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, self._told():
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock, self._told():
            self._connection.close()

    def _use_write_ahead_log(self) -> None:
        # For this one switch SQLite does not wait: two programs that start at once on a new file collide.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchall()
                return
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(explain(error, self.path)) from error
        except OSError as error:
            raise StoreError(
                f"cannot open {self.path}: {error.strerror}; set LMLAB_HOME to a folder you may write to"
            ) from error


def _make_private(path: Path) -> None:
    """Make the file if there is none. SQLite gives its -wal and -shm files the mode of the database."""
    try:
        private_folder(path.parent)
    except LmlabError as error:
        raise StoreError(str(error)) from error
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _primary_code(error: sqlite3.Error) -> int:
    # The low byte; the rest says where it arose.
    return _error_code(error) & 0xFF


def _error_code(error: sqlite3.Error) -> int:
    # Errors of the Python layer have none.
    return getattr(error, "sqlite_errorcode", 0)


def explain(error: sqlite3.Error, path: Path) -> str:
    """Return what went wrong with the database at ``path`` as one line that says what to do."""
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return f"the disk is full: {path} could not be written; free some space and try again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another program has held {path} locked for {BUSY_TIMEOUT_S:.0f} s: close it and try again"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return f"{path} may not be written: give yourself write permission, or set LMLAB_HOME to another folder"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return (
            f"{path} is damaged or is no lmlab database ({error}) and was left untouched: "
            f"rename it, for example to {path.name}.damaged, and lmlab starts a new one"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"cannot open {path}: check that it is a file in a folder you may write to, or set LMLAB_HOME"
    if code == sqlite3.SQLITE_IOERR:
        return f"the disk failed while {path} was used ({error}): check the disk and try again"
    if _error_code(error) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return (
            "what this follows was removed, here or by another program: bring it back if it was pruned here, "
            "else go on from another message of the tree, or begin a new session"
        )
    return f"{path} could not be used: {error}"
