"""A file of lines that grows at its end and is replaced whole, so that a crash leaves each line whole or not at all.

Knows nothing of what a line says.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lmlab.errors import LmlabError

SYNC_EVERY_S = 1.0

# A file that has no lines at all must not fill the memory.
_MAX_LINE_BYTES = 256 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)


class LineFile:
    """The file at ``path``, made when there is none; ``name`` is what it is called in messages.

    A kill loses at most the line being written, a power cut what was written in the last second. Only its opener may
    write to it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self._synced_at = time.monotonic()
        # Under the lock there is one writer, so whatever carries this name was left by a killed one.
        self._copy = path.with_name(f".{path.name}.lmlab-copy")
        try:
            self._copy.unlink(missing_ok=True)
            is_new = not path.exists()
            self._descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o666)
            if is_new:
                _sync_folder(path.parent)
        except OSError as error:
            raise LmlabError(f"cannot write to {name}: {error.strerror}; choose another file with -o") from None
        self.end = os.fstat(self._descriptor).st_size

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Return each line with where it starts. One over 256 MiB comes in pieces."""
        start = 0
        try:
            with open(self.path, "rb", buffering=1 << 20) as stream:
                while data := stream.readline(_MAX_LINE_BYTES):
                    yield start, data
                    start += len(data)
        except OSError as error:
            raise LmlabError(f"cannot read {self.name}: {error.strerror}; check the disk and try again") from None

    def read(self, start: int, length: int) -> bytes:
        try:
            os.lseek(self._descriptor, start, os.SEEK_SET)
            data = b""
            while len(data) < length and (piece := os.read(self._descriptor, length - len(data))):
                data += piece
        except OSError as error:
            raise LmlabError(f"cannot read {self.name}: {error.strerror}; check the disk and try again") from None
        return data

    def append(self, data: bytes) -> int:
        """Write ``data`` at the end, whole or not at all, and return where it starts. Raises LmlabError."""
        start = self.end
        self._check_untouched()
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:] if written else data)
            if time.monotonic() - self._synced_at >= SYNC_EVERY_S:
                self._sync()
        except OSError as error:
            self._cut_back(start)
            raise self._told(error) from None
        except BaseException:
            self._cut_back(start)
            raise
        self.end = start + len(data)
        return start

    def truncate(self, end: int) -> None:
        try:
            os.ftruncate(self._descriptor, end)
        except OSError as error:
            raise self._told(error) from None
        self.end = end

    def sync(self) -> None:
        """Have the disk take what was written."""
        try:
            self._sync()
        except OSError as error:
            raise self._told(error) from None

    def replace(self, write: Callable[[BinaryIO], None]) -> None:
        """Put what ``write`` writes in place of all that is there, at once. On LmlabError the old content stays."""
        try:
            try:
                with open(self._copy, "wb", buffering=1 << 20) as copy:
                    _take_over_rights(self._descriptor, self._copy)
                    write(copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                # Windows replaces no open file.
                os.close(self._descriptor)
                try:
                    os.replace(self._copy, self.path)
                finally:
                    self._descriptor = os.open(self.path, _FLAGS)
                    self.end = os.fstat(self._descriptor).st_size
            except BaseException:
                with suppress(OSError):
                    self._copy.unlink(missing_ok=True)
                raise
            _sync_folder(self.path.parent)
        except OSError as error:
            raise self._told(error) from None

    def close(self) -> None:
        """Sync and close. Raises LmlabError when the disk did not take it all; it is closed then too."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)

    def close_or_remove(self) -> None:
        """Close; a file without a line goes."""
        self.close()
        if not self.end:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced_at = time.monotonic()

    def _check_untouched(self) -> None:
        found = os.fstat(self._descriptor)
        if found.st_nlink == 0:
            raise LmlabError(
                f"{self.name} was removed or replaced while it was written: run the same command again, and let "
                "nothing else touch it"
            )
        if found.st_size != self.end:
            raise LmlabError(
                f"{self.name} has {found.st_size:,} bytes where {self.end:,} were written: another program wrote to "
                "it, or half a line could not be taken back; run the same command again"
            )

    def _cut_back(self, end: int) -> None:
        # A half line that cannot be cut off now is cut off by the next run; until then nothing may follow it, which
        # append() sees by the length.
        with suppress(OSError):
            if os.fstat(self._descriptor).st_size > end:
                os.ftruncate(self._descriptor, end)

    def _told(self, error: OSError) -> LmlabError:
        if error.errno in _FULL:
            what = "the file may not grow further" if error.errno == errno.EFBIG else "the disk is full"
            return LmlabError(
                f"{what}: {self.name} could not be written; every whole line is kept: make room and run the same "
                "command again"
            )
        return LmlabError(
            f"cannot write to {self.name}: {error.strerror}; every whole line is kept: see to it and run the same "
            "command again"
        )


def _take_over_rights(descriptor: int, copy: Path) -> None:
    old = os.fstat(descriptor)
    if hasattr(os, "chown"):
        # Only root may give a file away; for others it stays theirs, as any program's rewrite would.
        with suppress(PermissionError):
            os.chown(copy, old.st_uid, old.st_gid)
    os.chmod(copy, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Make a new or changed name outlive a power cut, where a folder can be synced."""
    if os.name == "nt":
        return
    # Some network file systems refuse it; the name is then as safe as they make it.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
