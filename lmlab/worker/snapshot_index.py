"""Which snapshots lie in the folder, by key: their headers, each read once. Safe to use from any thread.

Files come and go: another process may write to the same folder, and the parent removes from it. Whoever does so touches
the folder, so that one look at its time tells whether the list is still right.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lmlab import snapshot_layout
from lmlab.snapshot_layout import SnapshotEntry, key_in_name
from lmlab.worker import snapshot_file
from lmlab.worker.snapshot_file import DamagedSnapshotError, Header, UnusableSnapshotError


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    entry: SnapshotEntry
    header: Header


class SnapshotIndex:
    """The snapshots below ``folder``. ``log`` gets one line for each file that cannot be used."""

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self._folder = folder
        self._log = log
        self._lock = threading.Lock()
        self._listed_at: int | None = None
        self._by_key: dict[str, list[SnapshotEntry]] = {}
        # None: a file that cannot be used, which has been said.
        self._headers: dict[Path, Header | None] = {}

    def find(self, key: str) -> list[Indexed]:
        """Return the intact snapshots of ``key``, which is in hexadecimal."""
        with self._lock:
            self._refresh()
            found = [(entry, self._header(entry)) for entry in self._by_key.get(key_in_name(key), [])]
        return [Indexed(entry, header) for entry, header in found if header is not None and header.key == key]

    def read(self, found: Indexed) -> bytes | None:
        """Return the state, every byte of the file checked, and count it as used now; None when it cannot be used."""
        try:
            state = snapshot_file.read_state(found.entry.path, found.header.key)
        except (OSError, UnusableSnapshotError) as error:
            with self._lock:
                self._refuse(found.entry, error)
            return None
        with suppress(OSError):
            os.utime(found.entry.path)
        return state

    def changed(self) -> None:
        """Look again, here and in every other process that uses the folder."""
        snapshot_layout.touch(self._folder)
        with self._lock:
            self._listed_at = None

    def _refresh(self) -> None:
        try:
            changed_at = self._folder.stat().st_mtime_ns
        except OSError:
            changed_at = None
        if changed_at is not None and changed_at == self._listed_at:
            return
        self._by_key = {}
        headers = {}
        for entry in snapshot_layout.entries(self._folder):
            if not entry.temporary:
                self._by_key.setdefault(entry.key, []).append(entry)
                if entry.path in self._headers:
                    headers[entry.path] = self._headers[entry.path]
        self._headers = headers
        self._listed_at = changed_at

    def _header(self, entry: SnapshotEntry) -> Header | None:
        if entry.path not in self._headers:
            try:
                self._headers[entry.path] = snapshot_file.read_header(entry.path)
            except (OSError, UnusableSnapshotError) as error:
                self._refuse(entry, error)
        return self._headers[entry.path]

    def _refuse(self, entry: SnapshotEntry, error: OSError | UnusableSnapshotError) -> None:
        known_bad = self._headers.get(entry.path, error) is None
        self._headers[entry.path] = None
        if known_bad or isinstance(error, FileNotFoundError):
            return
        if isinstance(error, DamagedSnapshotError):
            done = "removed" if snapshot_layout.remove(entry) else "ignored"
            self._log(f"snapshot {entry.path} is damaged and was {done}: {error}")
        else:
            self._log(f"snapshot {entry.path} is ignored: {getattr(error, 'strerror', None) or error}")
