"""What a shell offers after Tab. Knows names and ids only; it reads no model and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from lmlab.cli.models_complete import complete_here
from lmlab.errors import LmlabError
from lmlab.models.catalogue import ENTRIES
from lmlab.settings import Paths, load_config
from lmlab.terminal_text import one_line
from lmlab.worker.messages import LOOKUP


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Return the references that begin with ``incomplete``, each with a few words: catalogue, aliases, what is here."""
    named = [(name, about) for name, about in _names() if name.startswith(incomplete)]
    return list(dict([*named, *complete_here(incomplete)]).items())


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
    for entry in ENTRIES:
        yield entry.name, entry.title
    try:
        yield from load_config(Paths.find().config).aliases.items()
    except LmlabError:
        # A config file that cannot be read is reported by the command itself, not while someone types it.
        return
