from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator

import pytest

from lmlab.errors import StoreError
from lmlab.store import row_index as row_index_module
from lmlab.store.row_index import GROUP, IndexedLine, RowIndex


def line(number: int, start: int = 0, *, failed: bool = False, file: int = 0) -> IndexedLine:
    return IndexedLine(f"{number:032x}", file, start, 100, failed)


@pytest.fixture
def index() -> Iterator[RowIndex]:
    index = RowIndex()
    yield index
    index.close()


def test_a_line_is_found_again(index: RowIndex) -> None:
    index.put(line(1, 5_000_000_000, failed=True, file=1))
    assert index.get(f"{1:032x}") == line(1, 5_000_000_000, failed=True, file=1)
    assert index.get(f"{2:032x}") is None


@pytest.mark.parametrize("many", [False, True])
def test_a_failed_line_gives_way_to_a_later_one_and_a_done_one_stays(index: RowIndex, many: bool) -> None:
    later = [
        line(1, 10, failed=True), line(2, 20), line(3, 30, failed=True),
        line(1, 40), line(2, 50), line(2, 60, failed=True), line(3, 70, failed=True),
    ]  # fmt: skip
    if many:
        index.put_all(later)
    else:
        for each in later:
            index.put(each)

    assert [index.get(f"{number:032x}") for number in (1, 2, 3)] == [line(1, 40), line(2, 20), line(3, 70, failed=True)]
    assert index.counts() == (2, 1)


def test_failed_lines_are_forgotten_one_or_all(index: RowIndex) -> None:
    index.put_all([line(number, number, failed=number % 2 == 0) for number in range(10)])
    index.forget(f"{0:032x}")
    assert index.counts() == (5, 4)
    index.forget_failed()
    assert index.counts() == (5, 0)
    index.clear()
    assert index.counts() == (0, 0)


def test_it_knows_which_files_have_lines(index: RowIndex) -> None:
    index.put_all([line(1, file=1), line(2, file=1, failed=True)])
    assert (index.holds(0), index.holds(1)) == (False, True)


def test_occurrences_are_counted_by_content(index: RowIndex) -> None:
    contents = [b"a" * 16, b"b" * 16, b"a" * 16, b"a" * 16]
    assert index.occurrences(contents) == [0, 0, 1, 2]
    index.clear()
    assert index.occurrences([b"b" * 16]) == [1]


def test_more_rows_than_the_cache_holds_are_all_found(index: RowIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_index_module, "_CACHE_KIB", 64)
    small = RowIndex()
    numbers = list(range(20_000))
    random.Random(1).shuffle(numbers)
    small.put_all(line(number, number) for number in numbers)
    assert small.counts() == (20_000, 0)
    for number in numbers[::1000]:
        found = small.get(f"{number:032x}")
        assert found is not None
        assert found.start == number
    small.close()


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def kept(*args: object, **kwargs: object) -> sqlite3.Connection:
        connections.append(connect(*args, **kwargs))  # type: ignore[call-overload]
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", kept)
    index = RowIndex()
    connections[0].execute("PRAGMA max_page_count = 4").fetchall()

    with pytest.raises(StoreError, match=r"index of a batch failed \(database or disk is full\): make room"):
        index.put_all(line(number) for number in range(10_000))
    index.close()


def test_more_than_a_group_at_once_is_refused(index: RowIndex) -> None:
    assert index.get_all([f"{number:032x}" for number in range(GROUP)]) == [None] * GROUP
    with pytest.raises(ValueError, match="501 rows"):
        index.get_all([f"{number:032x}" for number in range(GROUP + 1)])
