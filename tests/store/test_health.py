"""The database looked at: whole, damaged, somebody else's. It is never written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lmlab.errors import StoreError
from lmlab.store import Store
from lmlab.store.health import NEWEST, health


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with a hundred messages, closed."""
    path = tmp_path / "data" / "sessions with ü.db"
    with closing(Store(path)) as store:
        session = store.create_session(title="one")
        parent: int | None = None
        with store.transaction():
            for number in range(100):
                parent = store.add_turn(session.id, parent, f"message {number} " * 40).id
    return path


def run(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_none_is_none(tmp_path: Path) -> None:
    assert health(tmp_path / "sessions.db") is None
    assert list(tmp_path.iterdir()) == []


def test_a_whole_one_is_counted_and_left_alone(database: Path) -> None:
    before = database.read_bytes()
    found = health(database)
    assert found is not None
    assert (found.schema, found.sessions, found.turns, found.damage) == (NEWEST, 1, 100, ())
    assert found.size == len(before)
    assert database.read_bytes() == before


def test_it_can_be_looked_at_while_it_is_in_use(database: Path) -> None:
    with closing(Store(database)) as store:
        store.create_session(title="two")
        found = health(database)
    assert found is not None
    assert (found.sessions, found.damage) == (2, ())


def test_a_page_that_was_overwritten_is_found(database: Path) -> None:
    data = bytearray(database.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for page in range(4, len(data) // size - 1):
        data[page * size + 8 : page * size + 200] = b"\xff" * 192
    database.write_bytes(bytes(data))
    found = health(database)
    assert found is not None
    assert found.damage


def test_what_is_no_database_is_said(database: Path) -> None:
    database.write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(StoreError, match="is damaged or is no lmlab database"):
        health(database)


def test_a_file_cut_short_is_found(database: Path) -> None:
    data = database.read_bytes()
    database.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError, match="damaged"):
        health(database)


def test_a_link_to_nothing_is_found(database: Path) -> None:
    run(database, "PRAGMA foreign_keys = OFF", "DELETE FROM turn WHERE id = 50")
    found = health(database)
    assert found is not None
    assert set(found.damage) == {f"turn row {row} names a turn that is not there" for row in (49, 51)}


def test_an_older_one_is_not_brought_up_to_date(database: Path) -> None:
    run(database, f"PRAGMA user_version = {NEWEST - 1}")
    found = health(database)
    assert found is not None
    assert found.schema == NEWEST - 1
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (NEWEST - 1,)


def test_a_newer_one_and_another_programs_are_refused(database: Path, tmp_path: Path) -> None:
    run(database, f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(StoreError, match="newer lmlab"):
        health(database)
    other = tmp_path / "other.db"
    run(other, "CREATE TABLE notes (text TEXT)")
    with pytest.raises(StoreError, match="another program's database"):
        health(other)


def test_an_empty_file_is_a_database_yet_to_be_made(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.touch()
    found = health(path)
    assert found is not None
    assert (found.schema, found.sessions, found.damage) == (0, 0, ())
