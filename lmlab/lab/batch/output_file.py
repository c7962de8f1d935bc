"""An output in a file, with the rows that have no line in it in a second file beside it.

Every line goes to the disk whole or not at all; a later line of a failed row replaces the earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.batch.line_file import LineFile
from lmlab.lab.batch.output import NEW, Known, Output
from lmlab.lab.batch.output_line import Found, Head, has_failed
from lmlab.lab.batch.output_lock import OutputLock
from lmlab.lab.batch.output_scan import Scan, check_runs, lines_of, scan
from lmlab.store.row_index import IndexedLine, RowIndex

SKIPPED = ".skipped.jsonl"

_RESULTS, _SKIPPED = 0, 1


class FileOutput(Output):
    def __init__(self, path: Path, runs: Collection[str], *, force: bool) -> None:
        super().__init__(str(path), runs)
        # The file a link points to is what is locked, rewritten and has its like beside it; the link stays.
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise UsageError(f"there is no folder {target.parent}: make it, or write elsewhere with -o")
        self._skipped_path = target.with_name(target.name + SKIPPED)
        self._files: dict[int, LineFile] = {}
        # Of the files: those with lines that a later one replaces, and those with lines of others.
        self._superseded: set[int] = set()
        self._shared: set[int] = set()
        self._closed = False
        self._lock = OutputLock(target, self.name)
        try:
            self._index = RowIndex()
            try:
                self._open(target, force)
            except BaseException:
                self._index.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    @property
    def lasting(self) -> bool:
        return True

    def find(self, keys: Sequence[str]) -> list[Known]:
        return [_known(found) for found in self._index.get_all(keys)]

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        self._append(_RESULTS, key, record)

    def skip(self, key: str, record: Mapping[str, Any]) -> None:
        if _SKIPPED not in self._files:
            self._files[_SKIPPED] = LineFile(self._skipped_path, self.name + SKIPPED)
        self._append(_SKIPPED, key, record)

    def forget_failed(self, keys: Iterable[str] | None = None) -> None:
        if not self.failed:
            return
        if keys is None:
            self._index.forget_failed()
        else:
            for key in keys:
                found = self._index.get(key)
                if found is not None and found.failed:
                    self._index.forget(key)
        try:
            self._rewrite(list(self._files))
        finally:
            self._index_again()

    def reorder(self, keys: Iterable[str]) -> None:
        file = self._files[_RESULTS]

        def write(copy: BinaryIO) -> None:
            if _RESULTS in self._shared:
                for _, data, line in lines_of(file):
                    if self._is_others(line):
                        copy.write(_ended(data))
            # A line is forgotten once copied: no key is copied twice, and what is left follows.
            for key in keys:
                found = self._index.get(key)
                if found is not None and found.file == _RESULTS:
                    copy.write(_ended(file.read(found.start, found.length)))
                    self._index.forget(key)
            if self._index.holds(_RESULTS):
                for start, data, line in lines_of(file):
                    if isinstance(line, Head) and self._is_indexed(line, _RESULTS, start):
                        copy.write(_ended(data))

        try:
            file.replace(write)
        finally:
            self._index_again()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            self._rewrite(sorted(self._superseded))
        finally:
            self._release()

    def _open(self, target: Path, force: bool) -> None:
        try:
            self._files[_RESULTS] = LineFile(target, self.name)
            if self._skipped_path.exists():
                self._files[_SKIPPED] = LineFile(self._skipped_path, self.name + SKIPPED)
            found = self._scan(force)
            if not force:
                for number, file in self._files.items():
                    check_runs(file.name, found[number])
            self._repair(found)
        except BaseException:
            for file in self._files.values():
                with suppress(LmlabError):
                    file.close()
            raise

    def _scan(self, force: bool) -> dict[int, Scan]:
        """Index what is in the files."""
        found = {
            number: scan(file, number, self._runs, self._index.put_all, force=force)
            for number, file in self._files.items()
        }
        self._shared = {number for number, state in found.items() if state.others}
        self.done, self.failed = self._index.counts()
        return found

    def _repair(self, found: dict[int, Scan]) -> None:
        notes: list[str] = []
        holed: list[int] = []
        for number, file in self._files.items():
            state = found[number]
            if state.torn_at is not None:
                file.truncate(state.torn_at)
                notes.append(f"{file.name}: half a line at the end ({state.torn_bytes:,} bytes) was cut off")
            elif state.torn:
                holed.append(number)
                what = (
                    "1 damaged line was removed, its row is"
                    if state.torn == 1
                    else f"{state.torn:,} damaged lines were removed, their rows are"
                )
                notes.append(f"{file.name}: {what} done again")
            elif not state.ended:
                file.append(b"\n")
        if sum(state.ours for state in found.values()) > self.done + self.failed:
            holed = list(self._files)
        if holed:
            self._rewrite(holed)
            self._index_again()
        self.notes = tuple(notes)

    def _append(self, number: int, key: str, record: Mapping[str, Any]) -> None:
        data = self._line(key, record).encode("utf-8")
        failed, correct = has_failed(record), record.get("correct")
        before = self._index.get(key)
        if before is not None and not before.failed:
            raise ValueError(f"row {key} is done already")
        start = self._files[number].append(data)
        self._index.put(
            IndexedLine(key, number, start, len(data), failed, correct if isinstance(correct, bool) else None)
        )
        if before is not None:
            self._superseded.add(before.file)
        self._count("new" if before is None else "failed", failed)

    def _rewrite(self, numbers: list[int]) -> None:
        """Leave out every line of these runs that the index does not point to."""
        for number in numbers:
            file = self._files[number]

            def write(copy: BinaryIO, number: int = number, file: LineFile = file) -> None:
                for start, data, line in lines_of(file):
                    if self._is_others(line) or (isinstance(line, Head) and self._is_indexed(line, number, start)):
                        copy.write(_ended(data))

            file.replace(write)
            self._superseded.discard(number)

    def _index_again(self) -> None:
        self._index.clear()
        self._scan(force=True)

    def _is_others(self, line: Found) -> bool:
        return line == "foreign" or (isinstance(line, Head) and line.run not in self._runs)

    def _is_indexed(self, line: Head, number: int, start: int) -> bool:
        found = self._index.get(line.key)
        return found is not None and (found.file, found.start) == (number, start)

    def _release(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._lock.release)
            stack.callback(self._index.close)
            if _SKIPPED in self._files:
                stack.callback(self._files[_SKIPPED].close_or_remove)
            stack.callback(self._files[_RESULTS].close)


def _known(found: IndexedLine | None) -> Known:
    if found is None:
        return NEW
    place = found.start if found.file == _RESULTS else None
    return Known("failed" if found.failed else "done", place, found.correct)


def _ended(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"
