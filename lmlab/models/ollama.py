"""Models in Ollama's store, which is read and never written: manifests by name, and the blobs that they list.

Knows nothing of Ollama's own templates and parameters: a model is used as its GGUF has it.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmlab.errors import ModelNotFound, UsageError
from lmlab.terminal_text import one_line

_REGISTRIES = {"registry.ollama.ai", "ollama.com"}
_LIBRARY = "library"
_LATEST = "latest"
_MODEL = "application/vnd.ollama.image.model"
_ADAPTER = "application/vnd.ollama.image.adapter"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"{_PART}(?::[0-9]+)?(?:/{_PART}){{0,2}}(?::{_PART})?")
_SERVICE = Path("/usr/share/ollama/.ollama/models")
_LARGEST_MANIFEST = 1 << 20
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class OllamaReference:
    """A model by the name Ollama gives it, with or without a tag."""

    name: str

    def __str__(self) -> str:
        return f"ollama:{self.name}"


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """``name`` is complete: with its tag, and without what Ollama leaves out. ``adapters`` are LoRA files it applies."""

    name: str
    path: Path
    adapters: tuple[Path, ...]


def parse_name(text: str) -> OllamaReference:
    """Return the reference that follows ``ollama:``. Raises UsageError."""
    if not _NAME.fullmatch(text):
        raise UsageError(
            f"ollama:{one_line(text, 80)}: write it as ollama:name or ollama:name:tag, as `ollama list` does"
        )
    return OllamaReference(text)


def stores(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders where Ollama keeps models: the one OLLAMA_MODELS names, else the user's and the service's."""
    if named := environ.get("OLLAMA_MODELS"):
        return [Path(os.path.expanduser(named))]
    own = [Path.home() / ".ollama" / "models"]
    return [*own, _SERVICE] if sys.platform == "linux" else own


def installed(environ: Mapping[str, str]) -> list[OllamaModel]:
    """Return the models of which a GGUF is there, by name; what cannot be read is left out."""
    found: dict[str, OllamaModel] = {}
    for store in stores(environ):
        for manifest in _manifests(store):
            model = _read(manifest, store)
            if model is not None:
                found.setdefault(model.name, model)
    return sorted(found.values(), key=lambda model: model.name)


def find(reference: OllamaReference, environ: Mapping[str, str]) -> OllamaModel:
    """Return the model. Raises ModelNotFound that says what there is."""
    wanted = _complete(reference.name).casefold()
    models = installed(environ)
    for model in models:
        if model.name.casefold() == wanted:
            return model
    names = [model.name for model in models]
    near = difflib.get_close_matches(wanted, names, n=_SHOWN, cutoff=0.4) or names
    kept = ", ".join(near[:_SHOWN]) + (", …" if len(near) > _SHOWN else "")
    there = f"it holds {kept}" if names else f"there are none in {stores(environ)[0]}"
    raise ModelNotFound(f"Ollama has no {wanted} here, {there}: fetch it with `ollama pull {reference.name}`")


def _complete(name: str) -> str:
    *scope, last = name.split("/")
    if ":" not in last:
        last = f"{last}:{_LATEST}"
    if len(scope) == 2 and scope[0] in _REGISTRIES:
        scope = scope[1:]
    if scope == [_LIBRARY]:
        scope = []
    return "/".join([*scope, last])


def _manifests(store: Path) -> list[Path]:
    """Return every manifest: files at HOST/NAMESPACE/MODEL/TAG in ``manifests``, or the folder of a later layout."""
    try:
        names = [name for name in os.listdir(store) if name.startswith("manifest")]
    except OSError:
        return []
    found = []
    for name in sorted(names):
        for folder, _, files in os.walk(store / name):
            if len(Path(folder).relative_to(store / name).parts) == 3:
                found += [Path(folder, file) for file in files if not file.startswith(".")]
    return found


def _read(manifest: Path, store: Path) -> OllamaModel | None:
    try:
        if manifest.stat().st_size > _LARGEST_MANIFEST:
            return None
        layers = json.loads(manifest.read_bytes())["layers"]
        blobs = [(layer["mediaType"], _blob(store, layer["digest"])) for layer in layers]
    except (OSError, ValueError, KeyError, TypeError):
        # One that another program writes meanwhile, or one of a later form: the other models are still there.
        return None
    models = [blob for kind, blob in blobs if kind == _MODEL and blob is not None]
    if not models:
        return None
    host, namespace, model, tag = manifest.parts[-4:]
    scope = [namespace] if host in _REGISTRIES else [host, namespace]
    name = "/".join([*([] if scope == [_LIBRARY] else scope), f"{model}:{tag}"])
    return OllamaModel(name, models[0], tuple(blob for kind, blob in blobs if kind == _ADAPTER and blob is not None))


def _blob(store: Path, digest: Any) -> Path | None:
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        return None
    # Earlier versions wrote a colon, where the file system has one.
    candidates = [store / "blobs" / f"sha256{mark}{match[1]}" for mark in "-:"]
    return next((path for path in candidates if os.path.isfile(path)), None)
