"""Where lmlab keeps its files: whether they may be written, who else may read them, and the room on their disks."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lmlab.lab.doctor.finding import Finding, guarded
from lmlab.models import size_text
from lmlab.models.hub_files import cache_folder
from lmlab.settings import Paths

SECTION = "files"
LITTLE = 2_000_000_000
"""Bytes: less has no room for another model, nor for the snapshots of a long conversation."""
NONE_LEFT = 50_000_000

_HOW = "set LMLAB_HOME to a folder you may write to"


@dataclass(frozen=True, slots=True)
class Place:
    """A folder. ``private``: nobody else is to read what is in it."""

    name: str
    path: Path
    private: bool = True


def check(paths: Paths, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    places = (
        Place("data", paths.data),
        Place("models", paths.models, private=False),
        Place("logs", paths.logs),
        Place("snapshots", paths.snapshots),
        Place("comparisons", paths.comparisons),
        Place("benchmarks", paths.benchmarks),
        Place("hub cache", cache_folder(environ), private=False),
    )
    for place in places:
        yield from guarded(SECTION, place.name, functools.partial(_folder, place))
    for name, path in (("sessions", paths.database), ("history", paths.history), ("last model", paths.last_model)):
        if problem := _readable_by_others(path, 0o600):
            yield Finding(SECTION, name, "warning", f"{path}: {problem}", _chmod("600", path))
    yield from guarded(SECTION, "disk", functools.partial(_disks, [place.path for place in places]))


def _folder(place: Place) -> Iterator[Finding]:
    # Most are made when they are first needed, in one that is looked at itself.
    if place.path.exists() or place.name in ("data", "logs"):
        yield _looked_at(place)


def _looked_at(place: Place) -> Finding:
    name, path = place.name, place.path
    values = {"path": str(path), "exists": path.exists()}
    if not path.exists():
        parent = next(folder for folder in path.parents if folder.exists())
        if not parent.is_dir() or not _may_be_entered(parent):
            text = f"{path} is not there yet and cannot be made in {parent}"
            return Finding(SECTION, name, "broken", text, f"{_chmod('u+rwx', parent)}, or {_HOW}", values)
        return Finding(SECTION, name, "ok", f"{path} (made when it is first needed)", values=values)
    if not path.is_dir():
        return Finding(SECTION, name, "broken", f"{path} is not a folder", f"move it away, or {_HOW}", values)
    if problem := _unwritable(path):
        text = f"{path} cannot be written to: {problem}"
        return Finding(SECTION, name, "broken", text, f"{_chmod('u+rwx', path)}, or {_HOW}", values)
    if place.private and (problem := _readable_by_others(path, 0o700)):
        return Finding(SECTION, name, "warning", f"{path}: {problem}", _chmod("700", path), values)
    return Finding(SECTION, name, "ok", str(path), values=values)


def _may_be_entered(folder: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)


def _unwritable(folder: Path) -> str | None:
    """Return why no file can be made in ``folder``. Really made: permissions alone say nothing of a read-only disk."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"\0")
    except OSError as error:
        return error.strerror or str(error)
    return None


def _readable_by_others(path: Path, wanted: int) -> str | None:
    """Return who else may do what with ``path``, if anybody; on Windows rights are inherited and not read here."""
    if sys.platform == "win32":
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        return f"it belongs to another user (id {found.st_uid})"
    if mode & 0o077:
        return f"others on this machine may use it (mode {mode:04o}, not {wanted:04o})"
    return None


def _chmod(mode: str, path: Path) -> str:
    """Return what gives rights to ``path``, as one types it."""
    if sys.platform == "win32":
        return f"give yourself the right to write to {path}"
    return f"chmod {mode} {shlex.quote(str(path))}"


def _disks(folders: list[Path]) -> Iterator[Finding]:
    """Yield the room on each disk once."""
    seen: dict[int, list[Path]] = {}
    for folder in folders:
        there = next((path for path in (folder, *folder.parents) if path.exists()), None)
        if there is not None:
            seen.setdefault(there.stat().st_dev, []).append(there)
    for paths in seen.values():
        disk = shutil.disk_usage(paths[0])
        text = f"{size_text(disk.free)} free of {size_text(disk.total)} at {paths[0]}"
        values = {"path": str(paths[0]), "free": disk.free, "total": disk.total}
        advice = "make room, or set LMLAB_HOME to a folder on another disk"
        if disk.free < NONE_LEFT:
            yield Finding(SECTION, "disk", "broken", text, advice, values)
        elif disk.free < LITTLE:
            yield Finding(SECTION, "disk", "warning", text, advice, values)
        else:
            yield Finding(SECTION, "disk", "ok", text, values=values)
