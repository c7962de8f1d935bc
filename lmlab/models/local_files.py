"""Model files on this disk: which there are, and what to say of a path that is none. Reads names only."""

from __future__ import annotations

import os
from pathlib import Path

from lmlab.errors import ModelFileError, ModelNotFound

_SHOWN = 6


def gguf_files(folder: Path) -> list[Path]:
    """Return the GGUF files under ``folder``, sorted; folders whose name begins with a dot are left out.

    Links are followed, each folder is gone through once. Other processes may come and go there meanwhile: what vanishes
    is not an error.
    """
    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and _is_new(parent, name, seen)]
        found += [Path(parent, name) for name in names if name.lower().endswith(".gguf")]
    return sorted(path for path in found if os.path.isfile(path))


def _is_new(parent: str, name: str, seen: set[str]) -> bool:
    real = os.path.realpath(os.path.join(parent, name))
    if real in seen:
        return False
    seen.add(real)
    return True


def size_under(folder: Path) -> int:
    """Return the bytes of all files under ``folder``, as far as they are still there when they are counted."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:
                continue
    return size


def require_file(path: Path) -> Path:
    """Return ``path`` when it is a file. Raises ModelNotFound or ModelFileError that names what is there instead."""
    if not path.exists():
        near = _listed(path.parent)
        instead = f"there is {near}" if near else "a model of Hugging Face is written hf:owner/repo:QUANT"
        raise ModelNotFound(f"no such file: {path}; {instead}")
    if path.is_dir():
        inside = _listed(path)
        if inside:
            raise ModelFileError(f"{path} is a folder: give one of the files in it ({inside})")
        raise ModelFileError(f"{path} is a folder without .gguf files: give a model file")
    if not path.is_file():
        # A pipe without a writer would be waited for, and of one with a writer nothing can be mapped.
        raise ModelFileError(f"{path} is a pipe or a device: give a model file on disk")
    return path


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*.gguf")) if folder.is_dir() else []
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
