"""What is known of the rows of a batch, outside memory: where each one's line is, and how often a content was seen.

A temporary database of one process, gone with it. Knows nothing of files or formats.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter

from lmlab.errors import StoreError

GROUP = 500
"""How many rows may be asked for at once: SQLite takes no more than 999 values a statement where it is old."""

# The most memory the pages take; beyond it SQLite writes them to its temporary file.
_CACHE_KIB = 2 << 10

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
_COUNT = "INSERT INTO content VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET times = excluded.times"


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
        return self.get_all((key,))[0]

    def get_all(self, keys: Sequence[str]) -> list[IndexedLine | None]:
        """Return what is known of each of ``keys``, at most GROUP."""
        blobs = [bytes.fromhex(key) for key in keys]
        with _told():
            rows = self._connection.execute(
                f"SELECT key, file, start, length, failed, correct FROM line WHERE key IN ({_places(blobs)})", blobs
            )
            found = {row[0]: row[1:] for row in rows}
        return [_line(key, found.get(blob)) for key, blob in zip(keys, blobs, strict=True)]

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

    def occurrences(self, contents: Sequence[bytes]) -> list[int]:
        """Count each of ``contents``, at most GROUP, and return how often it was counted before: 0 the first time."""
        with _told():
            rows = self._connection.execute(
                f"SELECT digest, times FROM content WHERE digest IN ({_places(contents)})", contents
            )
            times: dict[bytes, int] = dict(rows)
            before = []
            for content in contents:
                before.append(times.get(content, 0))
                times[content] = before[-1] + 1
            self._connection.executemany(_COUNT, sorted(times.items()))
        return before

    def close(self) -> None:
        with _told():
            self._connection.close()


def _places(values: Sequence[object]) -> str:
    if len(values) > GROUP:
        raise ValueError(f"{len(values)} rows are asked for at once, and {GROUP} is the most")
    return ",".join("?" * len(values))


def _line(key: str, found: tuple[int, int, int, int, int | None] | None) -> IndexedLine | None:
    if found is None:
        return None
    file, start, length, failed, correct = found
    return IndexedLine(key, file, start, length, bool(failed), None if correct is None else bool(correct))


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
