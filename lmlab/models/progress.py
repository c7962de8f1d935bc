"""What every way of fetching a model shares: how it reports, how it is stopped, and whether there is room.

Knows nothing of where the bytes come from or of who shows the bar.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from lmlab.errors import DownloadError

_SPARE = 16 << 20  # left free for what else writes there meanwhile


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` bytes of ``total``; ``total`` is None when it is not known."""

    label: str
    done: int
    total: int | None


# Called often, on the thread that fetches: it must be quick.
ProgressSink: TypeAlias = Callable[[Progress], None]
Cancelled: TypeAlias = Callable[[], bool]


def stop_if(cancelled: Cancelled) -> None:
    """Raise DownloadError when the person no longer wants it."""
    if cancelled():
        raise DownloadError("the download was cancelled")


def size_text(size: int) -> str:
    """Return a size in bytes as people say it: ``98 MB``, ``2.5 GB``."""
    if size < 1_000_000:
        return f"{size / 1000:.0f} kB" if size >= 1000 else f"{size} bytes"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def require_space(folder: Path, size: int, remedy: str) -> None:
    """Raise DownloadError when ``size`` more bytes do not fit where ``folder`` is, or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size + _SPARE:
        raise DownloadError(
            f"it takes {size_text(size)} in {folder} and {size_text(free)} is free: make room, or {remedy}"
        )


def storage_error(folder: Path, error: OSError, remedy: str) -> DownloadError:
    """Return ``error``, met while writing in ``folder``, as one line that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(f"the disk is full: make room in {folder}, or {remedy}")
    return DownloadError(f"cannot write in {folder}: {error.strerror or error}; {remedy}")
