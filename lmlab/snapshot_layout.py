"""How snapshots lie on disk: ``FOLDER/SESSION/NAME.kv``, so that a session's can be counted and removed unread.

Both processes go by it. Knows names, sizes and times; nothing of what is in a file. Folders and files that lmlab would
not have named so are someone else's: never counted, never removed.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROMPTS = "prompts"
"""The folder of snapshots that belong to no session."""

TEMPORARY = ".tmp"
"""Ends the name of a file that is still being written."""

_PLAIN = re.compile(r"[a-z0-9]{5,64}")  # No letter case to be lost, and longer than the device names of Windows.
_ENCODED = "+"
_NAME = re.compile(r"([0-9a-f]{16})-(branch-)?[0-9a-f]{16}\.kv(\.tmp)?")


@dataclass(frozen=True, slots=True)
class SnapshotEntry:
    """A file of ours. ``key`` is how its key begins, ``used_ns`` when it was last written or read. A ``branch`` is where
    two prompts part, and stays when a session goes on."""

    path: Path
    session: str | None
    key: str
    branch: bool
    temporary: bool
    size: int
    used_ns: int


def folder_name(session: str | None) -> str:
    """Return the folder of ``session``; a name that is not safe everywhere is encoded."""
    if session is None:
        return PROMPTS
    if session != PROMPTS and _PLAIN.fullmatch(session):
        return session
    return _ENCODED + session.encode("utf-8", "surrogatepass").hex()


def new_name(key: str, *, branch: bool = False) -> str:
    """Return a file name that nobody uses, for a snapshot whose key is ``key`` in hexadecimal."""
    return f"{key_in_name(key)}-{'branch-' if branch else ''}{secrets.token_hex(8)}.kv"


def key_in_name(key: str) -> str:
    """Return as much of ``key`` as names carry."""
    return key[:16]


def entries(folder: Path) -> Iterator[SnapshotEntry]:
    """Yield every snapshot below ``folder``. What cannot be read, or vanishes meanwhile, is left out."""
    for child in _listed(folder):
        if not child.is_dir(follow_symlinks=False):
            continue
        with suppress(ValueError):
            session = _session_of(child.name)
            for file in _listed(Path(child.path)):
                if entry := _entry(file, session):
                    yield entry


def remove(entry: SnapshotEntry) -> bool:
    """Remove the file, and its folder with the last one. False when it is in use, as can be on Windows."""
    try:
        entry.path.unlink(missing_ok=True)
    except OSError:
        return False
    with suppress(OSError):
        entry.path.parent.rmdir()
    return True


def touch(folder: Path) -> None:
    """Tell every process that uses ``folder`` that its files are not what they were: whoever changes them does so."""
    now = time.time_ns()
    with suppress(OSError):
        os.utime(folder, ns=(now, now))


def _session_of(name: str) -> str | None:
    """Return the session whose folder is called ``name``. Raises ValueError when none is."""
    session = None
    if name.startswith(_ENCODED):
        session = bytes.fromhex(name.removeprefix(_ENCODED)).decode("utf-8", "surrogatepass")
    elif name != PROMPTS:
        session = name
    if folder_name(session) != name:
        raise ValueError(name)
    return session


def _entry(file: os.DirEntry[str], session: str | None) -> SnapshotEntry | None:
    match = _NAME.fullmatch(file.name)
    if not match:
        return None
    try:
        if not file.is_file(follow_symlinks=False):
            return None
        found = file.stat(follow_symlinks=False)
    except OSError:
        return None
    return SnapshotEntry(
        path=Path(file.path),
        session=session,
        key=match.group(1),
        branch=match.group(2) is not None,
        temporary=match.group(3) is not None,
        size=found.st_size,
        used_ns=found.st_mtime_ns,
    )


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
