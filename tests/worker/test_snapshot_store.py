"""Which snapshots are found, kept and given up. No model: a state is bytes."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from snapshot_drive import KEY, OTHER_KEY, Disk, numbers, state_of

from lmlab import snapshot_layout
from lmlab.engine.prefix_cache import ReusePolicy
from lmlab.worker import snapshot_file, snapshots
from lmlab.worker.snapshot_file import Tokens, size_on_disk
from lmlab.worker.snapshots import SMALLEST, SnapshotStore

SIZE = size_on_disk(100, 2000)
FIRST = numbers(100, seed=99)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "snapshots")


# Finding


def test_the_next_process_finds_what_this_one_kept(disk: Disk) -> None:
    tokens = numbers(100)
    disk.keep(tokens)
    found = disk.again().store.find((*tokens, 1, 2), KEY)
    assert found is not None
    assert (found.tokens, found.length, found.read()) == (tokens, 100, state_of(tokens))


def test_the_common_prefix_counts_and_the_longest_wins(disk: Disk) -> None:
    common = numbers(150)
    for seed, count in ((1, 80), (2, 120), (3, 100)):
        disk.keep(numbers(300, seed=seed, begin=common[:count]), session=f"other{seed}")
    assert disk.length(common) == 120
    assert disk.length(common[:90]) == 90
    assert disk.length(numbers(100, seed=9)) == 0
    assert disk.said == []


def test_of_two_that_save_the_same_the_smaller_is_read(disk: Disk) -> None:
    common = numbers(100)
    for count in (300, 120, 200):
        disk.keep(numbers(count, seed=count, begin=common), session=f"other{count}")
    found = disk.store.find(common, KEY)
    assert found is not None
    assert (len(found.tokens), found.length) == (120, 100)


def test_another_key_is_a_miss(disk: Disk) -> None:
    disk.keep(numbers(100))
    assert disk.length(numbers(100), key=OTHER_KEY) == 0
    assert disk.length(numbers(100)) == 100


def test_a_prefix_too_short_to_be_worth_a_file_is_neither_kept_nor_found(disk: Disk) -> None:
    disk.keep(numbers(SMALLEST - 1))
    assert disk.files() == []
    disk.keep(numbers(SMALLEST))
    assert disk.length(numbers(SMALLEST)) == SMALLEST
    assert disk.length(numbers(SMALLEST - 1)) == 0
    assert disk.length(numbers(100, seed=1, begin=numbers(SMALLEST - 1))) == 0


def test_a_state_that_llama_cpp_did_not_give_is_not_kept(disk: Disk) -> None:
    disk.store.offer("abc234", KEY, numbers(100), memoryview(b""))
    assert disk.store.flush(60)
    assert disk.files() == []


def test_a_recurrent_state_is_reused_whole_or_not_at_all(tmp_path: Path) -> None:
    disk = Disk(tmp_path, policy="recurrent")
    tokens = numbers(200)
    disk.keep(tokens[:100])
    assert [disk.length(tokens[:count]) for count in (99, 100, 200)] == [0, 100, 100]
    assert disk.length(numbers(200, seed=1, begin=tokens[:99])) == 0


def test_a_sliding_window_is_reused_where_all_that_it_attends_to_is_in_the_state(tmp_path: Path) -> None:
    disk = Disk(tmp_path, policy="sliding-window", window=90)
    tokens = numbers(200)
    disk.keep(tokens[:150])
    # The next token attends to itself and 89 before it; the state holds the last 90.
    assert [disk.length(tokens[:count]) for count in (148, 149, 150, 200)] == [0, 149, 150, 150]
    inside = numbers(80, seed=1)
    disk.keep(inside, session="other")
    assert [disk.length(inside[:count]) for count in (70, 80)] == [70, 80]


def test_what_does_not_fit_into_the_context_is_not_read(tmp_path: Path) -> None:
    tokens = numbers(200)
    Disk(tmp_path).keep(tokens)
    assert [Disk(tmp_path, context=size).length(tokens[:100]) for size in (199, 200)] == [0, 100]


def test_what_another_process_writes_or_removes_is_noticed(disk: Disk) -> None:
    other, tokens = disk.again(), numbers(100)
    assert disk.length(tokens) == 0
    other.keep(tokens)
    assert disk.length(tokens) == 100
    found = disk.store.find(tokens, KEY)
    disk.files()[0].unlink()
    assert found is not None
    assert found.read() is None
    assert disk.length(tokens) == 0
    assert disk.said == other.said == []


def test_each_header_is_read_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(5):
        disk.keep(numbers(100, seed=seed), session=f"other{seed}")
    opened: list[Path] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *rest, **more: opened.append(self) or real(self, *rest, **more))
    again = disk.again()
    for seed in range(5):
        assert again.store.find(numbers(100, seed=seed), KEY) is not None
    assert sorted(opened) == disk.files()


# Keeping


def test_a_longer_snapshot_replaces_what_it_continues_in_its_session_only(disk: Disk) -> None:
    tokens = numbers(300)
    disk.keep(tokens[:100])
    disk.keep(tokens[:100], session="other2")
    disk.keep(tokens[:100], key=OTHER_KEY)
    disk.keep(numbers(300, seed=1, begin=tokens[:90]))
    before = disk.files()
    disk.keep(tokens)
    assert len(disk.files()) == len(before) == 4
    assert len(set(disk.files()) & set(before)) == 3
    assert disk.length(tokens) == 300
    assert disk.again().length(numbers(300, seed=1, begin=tokens[:90])) == 300


@pytest.mark.parametrize("policy", ["full", "recurrent"])
def test_what_is_served_already_is_not_written_again(tmp_path: Path, policy: ReusePolicy) -> None:
    disk = Disk(tmp_path, policy=policy)
    tokens = numbers(200)
    disk.keep(tokens)
    before = disk.files()
    disk.keep(tokens)
    assert disk.files() == before
    disk.keep(tokens[:150])
    # A recurrent state of 200 tokens cannot be cut back to 150.
    assert len(disk.files()) == (1 if policy == "full" else 2)


@contextmanager
def slow_disk(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[int], threading.Event]]:
    """While the block runs, a first write, of 100 tokens, is under way and ends only when the event is set.

    Yields how many tokens each write that was begun had, and the event.
    """
    written: list[int] = []
    begun, go_on = threading.Event(), threading.Event()
    real = snapshot_file.write

    def write(path: Path, key: str, tokens: Tokens, state: bytes | memoryview) -> None:
        written.append(len(tokens))
        begun.set()
        assert go_on.wait(60)
        real(path, key, tokens, state)

    monkeypatch.setattr(snapshot_file, "write", write)
    disk.store.offer("first2", KEY, FIRST, state_of(FIRST))
    assert begun.wait(60)
    assert not disk.store.flush(0)
    yield written, go_on
    go_on.set()
    assert disk.store.flush(60)


def test_what_waits_for_the_disk_is_replaced_by_what_continues_it(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = numbers(400)
    with slow_disk(disk, monkeypatch) as (written, _):
        for count in (200, 200, 150, 300, 400):
            disk.store.offer("abc234", KEY, tokens[:count], state_of(tokens[:count]))
        disk.store.offer("other2", KEY, tokens[:100], state_of(tokens[:100]))
    assert written == [100, 400, 100]
    assert disk.again().length(tokens) == 400


def test_states_that_wait_do_not_fill_the_memory(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "WAITING_BYTES", 5000)
    with slow_disk(disk, monkeypatch) as (written, _):
        for seed in range(4):
            disk.store.offer("abc234", KEY, numbers(200 + seed, seed=seed), state_of((), 2000))
    assert written == [100, 200, 201]
    assert len(disk.said) == 2
    assert "4,000 bytes wait for the disk already" in disk.said[0]


def test_closing_finishes_what_was_begun_and_gives_up_the_rest(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    others = set(threading.enumerate())
    with slow_disk(disk, monkeypatch) as (written, go_on):
        disk.store.offer("other2", KEY, numbers(200), state_of(numbers(200)))
        (writer,) = set(threading.enumerate()) - others
        join = writer.join

        def joined() -> None:
            go_on.set()
            join()

        monkeypatch.setattr(writer, "join", joined)
        disk.store.close()
        assert not writer.is_alive()
    disk.store.offer("other3", KEY, numbers(200), state_of(numbers(200)))
    assert disk.store.flush(0)
    assert written == [100]
    assert disk.again().length(FIRST) == 100


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_what_was_said_is_private(disk: Disk) -> None:
    disk.keep(numbers(100))
    (file,) = disk.files()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, file.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


@pytest.mark.parametrize(
    "session", ["abc234", "prompts", "", ".", "..", "a/../../b", "CON", "com1", "Größe", "x\0y", "+61", "\udce9"]
)
def test_any_session_is_one_folder_that_tells_its_name(disk: Disk, session: str) -> None:
    disk.keep(numbers(100), session=session)
    disk.keep(numbers(100), session=None)
    assert {entry.session for entry in snapshot_layout.entries(disk.folder)} == {session, None}
    assert {path.parent.parent for path in disk.files()} == {disk.folder}
    assert disk.said == []


# The budget


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    disk = Disk(tmp_path, budget=3 * SIZE)
    for seed in range(3):
        disk.keep(numbers(100, seed=seed), session=f"other{seed}")
        for path in disk.folder.glob(f"other{seed}/*"):
            os.utime(path, (seed + 1, seed + 1))
    assert disk.length(numbers(100, seed=0)) == 100, "reading counts as use"
    disk.keep(numbers(100, seed=3), session="other3")
    assert [disk.length(numbers(100, seed=seed)) for seed in range(4)] == [100, 0, 100, 100]
    assert not (tmp_path / "other1").exists()
    disk.keep(numbers(250, seed=4), session="other4", size=2000 + SIZE)
    assert sum(path.stat().st_size for path in disk.files()) <= 3 * SIZE
    assert disk.again().store.find(numbers(250, seed=4), KEY) is not None
    assert disk.said == []


def test_what_is_larger_than_the_budget_is_not_written_and_evicts_nothing(tmp_path: Path) -> None:
    disk = Disk(tmp_path, budget=SIZE)
    disk.keep(numbers(100))
    disk.keep(numbers(100, seed=1), size=2001)
    assert disk.length(numbers(100)) == 100
    assert disk.said == [f"a prefix of 100 tokens is not kept: {SIZE + 1:,} bytes, the budget is {SIZE:,}"]


def test_what_is_not_ours_is_neither_counted_nor_removed(tmp_path: Path) -> None:
    disk = Disk(tmp_path, budget=SIZE)
    foreign = [tmp_path / "mine.kv", tmp_path / "My Chats" / f"{'0' * 16}-{'0' * 16}.kv", tmp_path / "abc234" / "a.kv"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10 * SIZE)
    for seed in range(3):
        disk.keep(numbers(100, seed=seed))
    assert disk.length(numbers(100, seed=2)) == 100
    assert len(disk.files()) == 4
    assert all(path.exists() for path in foreign)
    assert disk.said == []


def test_what_a_killed_process_left_half_written_goes_in_time(disk: Disk) -> None:
    disk.keep(numbers(100))
    name = disk.files()[0].name + ".tmp"
    old, fresh = (disk.folder / session / name for session in ("other1", "other2"))
    for path in (old, fresh):
        path.parent.mkdir()
        path.write_bytes(b"half")
    ago = time.time() - snapshots.ABANDONED_S - 60
    os.utime(old, (ago, ago))
    disk.keep(numbers(100, seed=1))
    assert [old.exists(), fresh.exists()] == [False, True]


# Trouble


def test_a_full_disk_costs_a_line_and_nothing_else(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = numbers(200)
    disk.keep(tokens[:100])
    before = disk.files()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    disk.keep(tokens)
    assert disk.files() == before
    assert len(disk.said) == 1
    assert disk.said[0].startswith("a prefix of 200 tokens could not be written to ")
    assert disk.said[0].endswith(os.strerror(errno.ENOSPC))
    monkeypatch.undo()
    disk.keep(tokens)
    assert disk.length(tokens) == 200


def test_a_folder_that_cannot_be_made_costs_a_line(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "file" / "snapshots")
    (tmp_path / "file").write_text("mine")
    disk.keep(numbers(100))
    assert disk.length(numbers(100)) == 0
    assert len(disk.said) == 1
    assert "cannot make the folder" in disk.said[0]


def test_stores_that_share_only_the_folder_do_not_harm_each_other(tmp_path: Path) -> None:
    """Four at once, in a folder that holds six snapshots: files come and go while they are looked for and read."""
    disks = [Disk(tmp_path, budget=6 * SIZE) for _ in range(4)]

    def use(number: int) -> None:
        disk = disks[number]
        for turn in range(30):
            disk.keep(numbers(100, seed=turn), session=f"other{turn % 3}")
            found = disk.store.find(numbers(100, seed=turn - number), KEY)
            state = found.read() if found else None
            if state is not None:
                assert found is not None
                assert state == state_of(found.tokens)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line for disk in disks for line in disk.said] == []
    disks[0].keep(numbers(100, seed=50))
    assert disks[1].length(numbers(100, seed=50)) == 100
    assert sum(path.stat().st_size for path in disks[0].files()) <= 6 * SIZE
    assert all(path.suffix == ".kv" for path in disks[0].files())


def test_a_branch_stays_beside_what_continues_it(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, 1 << 30, print, policy="sliding-window", context=1024, window=8)
    document = list(range(100))
    store.offer("one", KEY, document, b"the document", branch=True)
    store.offer("one", KEY, [*document, 1, 2, 3], b"the first turn")
    assert store.flush(10)
    store.offer("one", KEY, [*document, 1, 2, 3, 4, 5, 6], b"the second turn")
    assert store.flush(10)
    found = store.find([*document, 7, 7, 7], KEY)
    assert found is not None
    assert (found.length, found.read()) == (100, b"the document")
    on = store.find([*document, 1, 2, 3, 4, 5, 6, 7], KEY)
    assert on is not None
    assert (on.length, on.read()) == (106, b"the second turn")
    assert len(list(tmp_path.rglob("*.kv"))) == 2
    store.close()
