"""The folder of the templates that come with lmlab. Knows nothing of what is in them."""

from __future__ import annotations

from pathlib import Path

import lmlab


def packaged_folder() -> Path:
    package = Path(lmlab.__file__).parent
    # In a wheel they lie inside the package, in a source checkout beside it.
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"
