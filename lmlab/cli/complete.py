"""What a shell offers after Tab. Knows names and ids only; it reads no model and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from lmlab.errors import LmlabError
from lmlab.models.catalogue import ENTRIES
from lmlab.models.reference import other_files
from lmlab.settings import Paths, load_config
from lmlab.terminal_text import one_line
from lmlab.worker.messages import LOOKUP


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Return the model names that begin with ``incomplete``, each with a few words: catalogue, aliases, files here."""
    return [(name, about) for name, about in _names() if name.startswith(incomplete)]


def complete_draft(incomplete: str) -> list[tuple[str, str]]:
    """Return what can draft for a model: prompt lookup, and whatever ``complete_model`` offers."""
    lookup = [(LOOKUP, "from what the text repeats")] if LOOKUP.startswith(incomplete) else []
    return lookup + complete_model(incomplete)


def complete_session(incomplete: str) -> list[tuple[str, str]]:
    """Return the ids of sessions that begin with ``incomplete``, each with its title, the one written to last first."""
    database = Paths.find().database
    if not database.exists():
        return []
    # Imported here: most of what is completed needs no database.
    from lmlab.store import Store

    try:
        with closing(Store(database)) as store:
            sessions = store.sessions()
    except LmlabError:
        # Reported by the command itself, not while someone types it.
        return []
    return [(found.id, one_line(found.title)) for found in sessions if found.id.startswith(incomplete)]


def complete_template(incomplete: str) -> list[tuple[str, str]]:
    """Return the names of prompt templates that begin with ``incomplete``; a file's path is left to the shell."""
    # Imported here: most of what is completed needs no template.
    from lmlab.prompting import known_templates

    own = Paths.find().prompts
    return [
        (name, "your own" if path.parent == own else "")
        for name, path in known_templates(own).items()
        if name.startswith(incomplete)
    ]


def complete_preset(incomplete: str) -> list[tuple[str, str]]:
    """Return the names of sampling presets that begin with ``incomplete``, each with a few words."""
    from lmlab.lab.presets import BUILT_IN, Presets

    try:
        known = Presets(Paths.find().presets).all()
    except LmlabError:
        # A file that cannot be read is reported by the command itself, not while someone types it.
        known = BUILT_IN
    return [(preset.name, preset.about) for preset in known if preset.name.startswith(incomplete)]


def _names() -> Iterator[tuple[str, str]]:
    """Yield each model once: by its name where it has one, else by its path."""
    for entry in ENTRIES:
        yield entry.name, entry.title
    paths = Paths.find()
    try:
        aliases = load_config(paths.config).aliases
    except LmlabError:
        # A config file that cannot be read is reported by the command itself, not while someone types it.
        aliases = {}
    yield from aliases.items()
    for file in other_files(aliases, paths.models):
        yield str(file), "a file in the models folder"
