from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmlab.errors import StoreError
from lmlab.store import Reply, Store
from lmlab.store.schema import APPLICATION_ID, MIGRATIONS, migrate


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    yield connection
    connection.close()


def shape(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def test_a_blank_database_gets_the_newest_schema(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")

    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert {"session", "turn"} <= {name for name, _ in shape(connection)}


def test_every_reference_is_indexed_so_that_removing_reads_no_whole_table(connection: sqlite3.Connection) -> None:
    migrate(connection, "x")

    for table in ("session", "turn"):
        references = {row[3] for row in connection.execute(f"PRAGMA foreign_key_list({table})")}
        indexes = [row[1] for row in connection.execute(f"PRAGMA index_list({table})")]
        indexed = {connection.execute(f"PRAGMA index_info({index})").fetchone()[2] for index in indexes}
        assert references
        assert references <= indexed


def test_a_database_of_the_first_schema_opens_with_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    old = sqlite3.connect(file, isolation_level=None)
    migrate(old, "x", MIGRATIONS[:1])
    old.execute(
        "INSERT INTO session VALUES ('abc234', 'old', '2025-01-01T00:00:00+00:00', '2025-01-01T00:00:00+00:00', 'm', 's', NULL)"
    )
    old.execute(
        "INSERT INTO turn (session, role, content, created) VALUES ('abc234', 'user', 'hi', '2025-01-01T00:00:00+00:00')"
    )
    old.execute("UPDATE session SET leaf = 1")
    old.close()
    blank = sqlite3.connect(":memory:", isolation_level=None)
    migrate(blank, "x")

    store = Store(file)
    session, turns = store.session("abc234"), store.path("abc234")
    store.close()
    now = sqlite3.connect(file)

    assert (session.title, session.model, session.system) == ("old", "m", "s")
    assert [(turn.role, turn.content) for turn in turns] == [("user", "hi")]
    assert shape(now) == shape(blank)
    now.close()
    blank.close()


def test_a_reply_of_the_second_schema_has_no_log_probabilities_and_its_question_no_template(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    old = sqlite3.connect(file, isolation_level=None)
    migrate(old, "x", MIGRATIONS[:2])
    then = "2025-01-01T00:00:00+00:00"
    old.execute("INSERT INTO session VALUES ('abc234', 'old', ?, ?, 'm', NULL, NULL)", (then, then))
    old.execute("INSERT INTO turn (id, session, role, content, created) VALUES (1, 'abc234', 'user', 'hi', ?)", (then,))
    old.execute(
        "INSERT INTO turn (id, session, parent, role, content, created, tokens, record)"
        " VALUES (2, 'abc234', 1, 'assistant', 'ho', ?, x'0700000008000000', '{\"finish_reason\":\"stop\"}')",
        (then,),
    )
    old.execute("UPDATE session SET leaf = 2")
    old.close()

    store = Store(file)
    question, answer = store.path("abc234")
    later = store.add_turn("abc234", 1, "", reply=Reply(tokens=(1,), logprobs=(-0.5,)))
    store.close()

    assert question.prompt is None
    assert answer.reply == Reply(status="done", finish_reason="stop", tokens=(7, 8))
    assert answer.reply.logprobs is None
    assert later.reply is not None
    assert later.reply.logprobs == (-0.5,)


def test_later_migrations_are_added_to_what_is_there(connection: sqlite3.Connection) -> None:
    first, second = ("CREATE TABLE a (x)",), ("ALTER TABLE a ADD COLUMN y", "UPDATE a SET y = x + 1")
    migrate(connection, "x", [first])
    connection.execute("INSERT INTO a VALUES (1)")

    migrate(connection, "x", [first, second])

    assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_migration_that_fails_leaves_the_database_as_it_was(connection: sqlite3.Connection) -> None:
    first = ("CREATE TABLE a (x)",)
    migrate(connection, "x", [first])
    before = shape(connection)

    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, "x", [first, ("CREATE TABLE b (x)", "not SQL")])

    assert shape(connection) == before
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    Store(file).close()
    newer = sqlite3.connect(file, isolation_level=None)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 4}")
    newer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    newer.close()
    before = file.read_bytes()

    with pytest.raises(StoreError) as caught:
        Store(file)

    assert str(caught.value) == (
        f"{file} was written by a newer lmlab (its schema is {len(MIGRATIONS) + 4}, this lmlab knows {len(MIGRATIONS)}): "
        "upgrade with `pip install --upgrade lmlab`, or set LMLAB_HOME to another folder"
    )
    assert file.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    before = file.read_bytes()

    with pytest.raises(StoreError, match="is another program's database and was left untouched"):
        Store(file)

    assert file.read_bytes() == before
