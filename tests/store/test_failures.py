from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lmlab.errors import StoreError
from lmlab.store import Reply, Store
from lmlab.store import connection as connection_module

WRITER = """
import sys
from pathlib import Path
from lmlab.store import Reply, Store
store = Store(Path(sys.argv[1]))
session = store.create_session(title=sys.argv[2])
print(session.id, flush=True)
for number in range(int(sys.argv[3])):
    turn = store.add_turn(session.id, None, f"{sys.argv[2]} {number}", reply=Reply())
    store.save_reply(turn.id, f"{sys.argv[2]} {number} grown", Reply())
    print(turn.id, flush=True)
"""


def writer(file: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(file), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class Limited:
    """Opens connections whose database may be made unable to grow."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        self.connection = sqlite3.connect(*args, **kwargs)
        return self.connection

    def limit(self, pages: int) -> None:
        assert self.connection is not None
        self.connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def rename_and_add(store: Store, session: str) -> None:
    with store.transaction():
        store.rename(session, "half")
        store.add_turn(session, None, "y" * 100_000)


def test_a_full_disk_is_said_and_nothing_half_written(tmp_path: Path) -> None:
    disk = Limited()
    store = Store(tmp_path / "sessions.db", connect=disk)
    session = store.create_session()
    start = store.add_turn(session.id, None, "start")
    reply = store.add_turn(session.id, start.id, "", reply=Reply())
    disk.limit(1)

    with pytest.raises(StoreError, match=r"^the disk is full: .*sessions\.db could not be written; free some space"):
        store.save_reply(reply.id, "x" * 100_000, Reply())
    with pytest.raises(StoreError, match="the disk is full"):
        rename_and_add(store, session.id)

    assert store.path(session.id) == (start, reply)
    assert store.session(session.id).title == "start"

    disk.limit(1_000_000)
    store.save_reply(reply.id, "x" * 100_000, Reply())
    assert store.turn(reply.id).content == "x" * 100_000
    store.close()


@pytest.mark.parametrize(
    "content", [b"these are my notes, not a database\n" * 10, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sessions.db"
    file.write_bytes(content)

    with pytest.raises(StoreError) as caught:
        Store(file)

    assert str(caught.value).startswith(f"{file} is damaged or is no lmlab database (")
    assert "left untouched: rename it, for example to sessions.db.damaged" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content


def test_pages_damaged_in_the_middle_are_told(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    store = Store(file)
    session = store.create_session()
    store.add_turn(session.id, None, "x" * 50_000)
    store.close()
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xaa" * (len(data) - 4096)
    file.write_bytes(data)

    broken = Store(file)
    with pytest.raises(StoreError, match="is damaged"):
        broken.path(session.id)
    broken.close()


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").mkdir()
    with pytest.raises(StoreError, match=r"^cannot open .*sessions\.db: check that it is a file"):
        Store(tmp_path / "sessions.db")


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="LMLAB_HOME"):
        Store(tmp_path / "home" / "sessions.db")


def test_a_database_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    def read_only(path: Path, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, **options)

    file = tmp_path / "sessions.db"
    Store(file).close()
    store = Store(file, connect=read_only)

    with pytest.raises(StoreError, match=r"may not be written: give yourself write permission"):
        store.create_session()
    store.close()


def test_a_lock_that_is_not_given_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT_S", 0.0)
    store = Store(tmp_path / "sessions.db")
    other = sqlite3.connect(store.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match=r"^another program has held .* locked"):
        store.create_session()

    other.execute("ROLLBACK")
    other.close()
    assert store.create_session().title == ""
    store.close()


def test_two_programs_write_at_once_also_at_the_first_start(tmp_path: Path) -> None:
    file = tmp_path / "lmlab" / "sessions.db"
    programs = [writer(file, name, 25) for name in ("one", "two", "three")]
    outputs = [program.communicate(timeout=60)[0].split() for program in programs]
    store = Store(file)
    contents = {session.title: [turn.content for turn in store.turns(session.id)] for session in store.sessions()}
    store.close()

    assert [program.returncode for program in programs] == [0, 0, 0]
    assert contents == {name: [f"{name} {i} grown" for i in range(25)] for name in ("one", "two", "three")}
    assert all(len(output) == 26 for output in outputs)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_what_was_committed_outlives_kill_9(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    program = writer(file, "doomed", 100_000)
    assert program.stdout is not None
    session = program.stdout.readline().strip()
    seen = [int(program.stdout.readline()) for _ in range(20)]
    os.kill(program.pid, signal.SIGKILL)
    seen += [int(line) for line in program.stdout if line.endswith("\n")]
    program.wait()
    program.stdout.close()

    store = Store(file)
    turns = {turn.id: turn for turn in store.turns(session)}
    store.close()

    assert [turns[name].content for name in seen] == [f"doomed {i} grown" for i in range(len(seen))]
    assert all(turns[name].reply == Reply() for name in seen)
    assert len(turns) <= len(seen) + 1
