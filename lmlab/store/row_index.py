"""What is known of the rows of a batch, outside memory: where each one's line is, and how often a content was seen.

A temporary database of one process, gone with it. Knows nothing of files or formats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

from lmlab.errors import StoreError

# The most memory the pages take; beyond it SQLite writes them to its temporary file.
_CACHE_KIB = 16 << 10

_SCHEMA = """
CREATE TABLE line (
    key BLOB PRIMARY KEY, file INTEGER, start INTEGER, length INTEGER, failed INTEGER, correct INTEGER
) WITHOUT ROWID;
CREATE TABLE content (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID;
"""
# A line that is done stays; one that failed gives way to any later one.
_PUT = (
    "INSERT INTO line VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " file = excluded.file, start = excluded.start, length = excluded.length, failed = excluded.failed,"
    " correct = excluded.correct WHERE failed"
)
_COUNT = "INSERT INTO content VALUES (?, 1) ON CONFLICT (digest) DO UPDATE SET times = times + 1 RETURNING times"


@dataclass(frozen=True, slots=True)
class IndexedLine:
    """The line of a row: in which file, from which byte, how many with its end, and whether it tells of a failure.

    ``correct``: whether the answer in it was the expected one, where one was.
    """

    key: str
    file: int
    start: int
    length: int
    failed: bool
    correct: bool | None = None


class RowIndex:
    """Use from one thread at a time. Memory is bounded, however many rows there are."""

    def __init__(self) -> None:
        with _told():
            # The empty name is SQLite's own: a file without a name, made only when the cache is full.
            self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._connection.executescript(_SCHEMA)
            self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            for setting in ("journal_mode = OFF", "synchronous = OFF"):
                self._connection.execute(f"PRAGMA {setting}").fetchall()
            self._connection.execute("BEGIN")

    def put(self, line: IndexedLine) -> None:
        """Note a line. One that is done is not replaced; one that failed is."""
        with _told():
            self._connection.execute(_PUT, _columns(line))

    def put_all(self, lines: Iterable[IndexedLine]) -> None:
        """Note many lines, each as by ``put`` and in this order."""
        # Sorted by key, neighbours fall onto the same page; sorting keeps the order of equal keys.
        with _told():
            self._connection.executemany(_PUT, sorted(map(_columns, lines), key=itemgetter(0)))

    def get(self, key: str) -> IndexedLine | None:
        try:
            found = self._connection.execute(
                "SELECT file, start, length, failed, correct FROM line WHERE key = ?", (bytes.fromhex(key),)
            ).fetchone()
        except sqlite3.Error as error:
            raise _failed(error) from error
        if found is None:
            return None
        correct = None if found[4] is None else bool(found[4])
        return IndexedLine(key, found[0], found[1], found[2], bool(found[3]), correct)

    def forget(self, key: str) -> None:
        with _told():
            self._connection.execute("DELETE FROM line WHERE key = ?", (bytes.fromhex(key),))

    def forget_failed(self) -> None:
        with _told():
            self._connection.execute("DELETE FROM line WHERE failed")

    def clear(self) -> None:
        """Forget every line; what was counted stays."""
        with _told():
            self._connection.execute("DELETE FROM line")

    def counts(self) -> tuple[int, int]:
        """Return how many rows are done and how many failed."""
        with _told():
            rows, failed = self._connection.execute("SELECT count(*), coalesce(sum(failed), 0) FROM line").fetchone()
        return rows - failed, failed

    def holds(self, file: int) -> bool:
        """Return whether a line of ``file`` is known."""
        with _told():
            return bool(
                self._connection.execute("SELECT EXISTS (SELECT 1 FROM line WHERE file = ?)", (file,)).fetchone()[0]
            )

    def occurrence(self, content: bytes) -> int:
        """Return how often ``content`` was asked for before: 0 the first time."""
        try:
            times: int = self._connection.execute(_COUNT, (content,)).fetchall()[0][0]
        except sqlite3.Error as error:
            raise _failed(error) from error
        return times - 1

    def close(self) -> None:
        with _told():
            self._connection.close()


def _columns(line: IndexedLine) -> tuple[bytes, int, int, int, bool, bool | None]:
    return bytes.fromhex(line.key), line.file, line.start, line.length, line.failed, line.correct


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _failed(error) from error


def _failed(error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"the temporary index of a batch failed ({error}): make room in the folder for temporary files, "
        "or set SQLITE_TMPDIR to one with room"
    )
