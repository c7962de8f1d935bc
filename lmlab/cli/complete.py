"""What a shell offers after Tab. Knows names only; it reads no model and fetches nothing."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.errors import LmlabError
from lmlab.models.catalogue import ENTRIES
from lmlab.models.local_files import gguf_files
from lmlab.settings import Paths, load_config


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Return the model names that begin with ``incomplete``, each with a few words: catalogue, aliases, files here."""
    return [(name, about) for name, about in _names() if name.startswith(incomplete)]


def _names() -> Iterator[tuple[str, str]]:
    for entry in ENTRIES:
        yield entry.name, entry.title
    paths = Paths.find()
    try:
        yield from load_config(paths.config).aliases.items()
    except LmlabError:
        # A config file that cannot be read is reported by the command itself, not while someone types it.
        pass
    for file in gguf_files(paths.models):
        yield str(file), "a file in the models folder"
