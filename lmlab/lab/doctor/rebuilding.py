"""The commands that build llama.cpp anew: for this processor, or with support for a GPU. As in the README's "GPU builds"."""

from __future__ import annotations

import sys
from importlib import metadata

_PACKAGE = "llama-cpp-python"


def rebuild(version: str | None = None, option: str | None = None, *, platform: str = sys.platform) -> str:
    """Return the command that builds ``version``, the one that is installed unless given, with a CMake ``option``."""
    version = version or _installed()
    package = _PACKAGE if version is None else f"{_PACKAGE}=={version}"
    command = f"pip install --force-reinstall --no-cache-dir --no-deps {package}"
    if option is None:
        return command
    if platform == "win32":
        return f'$env:CMAKE_ARGS="{option}"; {command}'
    return f'CMAKE_ARGS="{option}" {command}'


def _installed() -> str | None:
    try:
        return metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        return None
