"""Where LM Studio keeps its models, read and never written. Knows nothing of what is in them."""

from __future__ import annotations

import json
import os
from pathlib import Path

_POINTER = ".lmstudio-home-pointer"
_HOMES = (".lmstudio", ".cache/lm-studio")


def model_folders() -> list[Path]:
    """Return the folders of models: those of its homes, old and new, and the one its settings name."""
    homes = [Path.home() / name for name in _HOMES]
    if pointed := _text(Path.home() / _POINTER).strip():
        homes.insert(0, Path(pointed))
    folders: list[Path] = []
    for home in homes:
        if named := _downloads(home):
            folders.append(named)
        folders.append(home / "models")
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]


def _downloads(home: Path) -> Path | None:
    try:
        settings = json.loads(_text(home / "settings.json"))
    except ValueError:
        return None
    named = settings.get("downloadsFolder") if isinstance(settings, dict) else None
    return Path(named) if isinstance(named, str) and named and Path(named).is_absolute() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
