"""Where prompt templates are found: those that come with lmlab, a user's own, and files. Knows nothing of what is in them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from lmlab.errors import UsageError
from lmlab.prompting.loading import load_template
from lmlab.prompting.packaged import packaged_folder
from lmlab.prompting.template import NAME_PATTERN, PromptTemplate
from lmlab.settings import expanded

_TRANSCRIPT = "transcript"
"""How a base model chats: no task, so no one's to choose."""


def packaged_templates() -> tuple[Path, ...]:
    """Return the files of tasks that come with lmlab, sorted by name."""
    return tuple(path for path in _files(packaged_folder()) if path.stem != _TRANSCRIPT)


def known_templates(user_folder: Path | None) -> dict[str, Path]:
    """Return the file of each name, sorted by name; a user's own goes before a packaged one."""
    own = _files(user_folder) if user_folder is not None else ()
    return dict(sorted({path.stem: path for path in (*packaged_templates(), *own)}.items()))


def find_template(name: str, user_folder: Path | None = None) -> Path:
    """Return the file that ``name`` means: a template's name, else a path. Raises UsageError that names near ones."""
    known = known_templates(user_folder)
    if name in known:
        return known[name]
    if not re.match(NAME_PATTERN, name):
        return expanded(name)
    near = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"no prompt template is called {name!r}: {hint}; a file is given by its path, such as ./{name}.md")


def load(name_or_path: str, user_folder: Path | None) -> PromptTemplate:
    """Read the template that ``name_or_path`` means. Raises UsageError, or PromptError with the line of what is wrong."""
    return load_template(find_template(name_or_path, user_folder))


def transcript() -> tuple[str, tuple[str, ...]]:
    """Return how a base model chats: Jinja2 source over ``messages`` that writes a plain transcript, and stop strings."""
    template = load_template(packaged_folder() / f"{_TRANSCRIPT}.md")
    return template.body, template.stop


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("*.md"), key=lambda path: path.stem))
