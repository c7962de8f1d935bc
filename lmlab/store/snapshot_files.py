"""The disk space of snapshots, by session. Opens none of them: the worker alone knows what is in one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lmlab import snapshot_layout


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes that each session's snapshots take; a session without any is left out."""
    found: Counter[str] = Counter()
    for entry in snapshot_layout.entries(folder):
        if entry.session is not None:
            found[entry.session] += entry.size
    return dict(found)


def remove(folder: Path, session: str) -> int:
    """Remove the snapshots of ``session`` and return how many bytes that freed."""
    mine = [entry for entry in snapshot_layout.entries(folder) if entry.session == session]
    freed = sum(entry.size for entry in mine if snapshot_layout.remove(entry))
    snapshot_layout.touch(folder)
    return freed
