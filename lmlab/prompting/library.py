"""Where prompt templates are found: those that come with lmlab, and files. Knows nothing of what is in them."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import lmlab
from lmlab.errors import UsageError
from lmlab.prompting.template import load_template


def packaged_templates() -> tuple[Path, ...]:
    """Return the files that come with lmlab, sorted by name."""
    return tuple(sorted(_folder().glob("*.md")))


def find_template(name: str) -> Path:
    """Return the file that ``name`` means: a path, else a packaged template. Raises UsageError that names near ones."""
    if name.endswith(".md") or "/" in name or "\\" in name:
        return Path(name).expanduser()
    known = {path.stem: path for path in packaged_templates()}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}; a file's name ends in .md"
    raise UsageError(f"no prompt template is called {name!r}: {hint}")


def transcript() -> tuple[str, tuple[str, ...]]:
    """Return how a base model chats: Jinja2 source over ``messages`` that writes a plain transcript, and stop strings."""
    template = load_template(find_template("transcript"))
    return template.body, template.stop


def _folder() -> Path:
    package = Path(lmlab.__file__).parent
    # In a wheel they lie inside the package, in a source checkout beside it.
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"
