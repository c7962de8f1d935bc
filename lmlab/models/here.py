"""The models that can be used on this machine without fetching anything, wherever programs keep them.

Looks at names and headers. Changes nothing but lmlab's own record of headers, and shows nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmlab.errors import LmlabError, ModelNotFound
from lmlab.models import lm_studio, ollama
from lmlab.models.catalogue import BY_NAME, ENTRIES, PackagedEntry
from lmlab.models.header import part_names
from lmlab.models.header_cache import Facts, HeaderCache, read_facts
from lmlab.models.hub_files import HubReference, cached_models, cached_repos, choose, find_cached, quantization_in
from lmlab.models.local_files import gguf_files
from lmlab.models.reference import FileReference, parse
from lmlab.models.wheel_reference import find_kept
from lmlab.settings import Config, Paths
from lmlab.terminal_text import visible

Source: TypeAlias = Literal["lmlab", "huggingface", "ollama", "lmstudio", "folder"]


@dataclass(frozen=True, slots=True)
class Place:
    """A file by the reference that finds it, ``also`` by others. ``path`` is the first of a model in parts."""

    ref: str
    source: Source
    path: Path
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    place: Place
    facts: Facts

    def to_dict(self, available: int) -> dict[str, Any]:
        facts = self.facts
        return {
            "ref": self.place.ref,
            "also": list(self.place.also),
            "source": self.place.source,
            "path": str(self.place.path),
            "name": facts.name,
            "architecture": facts.architecture,
            "parameters": facts.parameters,
            "quantization": facts.quantization,
            "size": facts.size,
            "context": facts.context,
            "chat_template": facts.chat_template,
            "memory": facts.usual_need,
            "memory_context": facts.usual_context,
            "fits": facts.fit(available),
        }


def models_here(
    paths: Paths, config: Config, environ: Mapping[str, str] = os.environ
) -> tuple[list[Found], tuple[str, ...]]:
    """Return the models, and a line for each file or folder that something is wrong with."""
    cache = HeaderCache(paths.headers)
    found: list[Found] = []
    problems = [f"model_folders: there is no folder {each}" for each in config.model_folders if not os.path.isdir(each)]
    for place in places(paths, config, environ):
        if not _is_text(place.path):
            problems.append(f"{visible(str(place.path))}: the name is not valid Unicode text; rename the file")
            continue
        facts, problem = read_facts(cache, place.path)
        if problem is not None:
            problems.append(problem)
        elif facts is not None:
            found.append(Found(place, facts))
    cache.save()
    return found, tuple(problems)


def _is_text(path: Path) -> bool:
    """Whether the path can be typed, stored and written as JSON."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def places(paths: Paths, config: Config, environ: Mapping[str, str] = os.environ) -> list[Place]:
    """Return every file once, in the order of the sources; reads no file of a model."""
    once: dict[str, Place] = {}
    for place in (
        *_own(paths, config),
        *_hub(environ),
        *_ollama(environ),
        *_files("lmstudio", lm_studio.model_folders(), paths, config),
        *_files("folder", config.model_folders, paths, config),
    ):
        real = os.path.realpath(place.path)
        if before := once.get(real):
            names = dict.fromkeys((*before.also, place.ref, *place.also))
            once[real] = replace(before, also=tuple(name for name in names if name != before.ref))
        else:
            once[real] = place
    aliases = _aliases(paths, config)
    for alias, target in aliases:
        if os.path.isfile(target) and target not in once:
            once[target] = Place(alias, "folder", Path(target))
    return [replace(place, also=_names(place, real, aliases)) for real, place in once.items()]


def _names(place: Place, real: str, aliases: list[tuple[str, str]]) -> tuple[str, ...]:
    leading = (alias for alias, target in aliases if target in (real, place.ref, *place.also))
    return tuple(dict.fromkeys(name for name in (*place.also, *leading) if name != place.ref))


def _own(paths: Paths, config: Config) -> Iterator[Place]:
    by_path = {
        find_kept(entry.wheel, paths.models): entry.name for entry in ENTRIES if isinstance(entry, PackagedEntry)
    }
    for place in _files("lmlab", [paths.models], paths, config):
        name = by_path.get(place.path)
        yield place if name is None else replace(place, ref=name)


def _files(source: Source, folders: list[Path] | tuple[Path, ...], paths: Paths, config: Config) -> Iterator[Place]:
    # By its name alone a file is found only in lmlab's folder and in those of the config.
    named = source != "lmstudio"
    meant: dict[str, set[str]] = {}
    for path in (path for each in (paths.models, *config.model_folders) for path in _first_files(each)):
        meant.setdefault(path.stem, set()).add(os.path.realpath(path))
    for folder in folders:
        for path in _first_files(folder):
            taken = path.stem in config.aliases or path.stem in BY_NAME or ":" in path.stem
            alone = named and not taken and len(meant[path.stem]) == 1
            yield Place(path.stem if alone else str(path), source, path)


def _first_files(folder: Path) -> list[Path]:
    return [path for path in gguf_files(folder) if path.name == part_names(path.name)[0]]


def _hub(environ: Mapping[str, str]) -> Iterator[Place]:
    by_file = {(e.hub.repo, e.hub.file): e.name for e in ENTRIES if e.hub.file}
    whole = {e.hub.repo: e.name for e in ENTRIES if e.hub.selector is None}
    for repo in cached_repos(environ):
        models = cached_models(repo, environ)
        for name in models:
            path = find_cached(HubReference(repo, name), environ)
            if path is None:
                continue
            exact = f"hf:{repo}:{name}"
            known = by_file.get((repo, name)) or (whole.get(repo) if len(models) == 1 else None)
            if known:
                yield Place(known, "huggingface", path, (exact,))
            else:
                yield Place(_shortest(repo, name, models), "huggingface", path)


def _shortest(repo: str, name: str, names: list[str]) -> str:
    """Return the reference by quantization when it means this file alone, else by the file's name."""
    if quantization := quantization_in(name):
        with contextlib.suppress(ModelNotFound):
            reference = HubReference(repo, quantization)
            if choose(names, reference) == name:
                return str(reference)
    return f"hf:{repo}:{name}"


def _ollama(environ: Mapping[str, str]) -> Iterator[Place]:
    for model in ollama.installed(environ):
        yield Place(f"ollama:{model.name}", "ollama", model.path)


def _aliases(paths: Paths, config: Config) -> list[tuple[str, str]]:
    """Return each alias with what it leads to: a file's real path, or a reference."""
    targets: list[tuple[str, str]] = []
    for alias in config.aliases:
        # One that leads nowhere is an error for whoever uses it.
        with contextlib.suppress(LmlabError):
            reference = parse(alias, config.aliases, paths.models, config.model_folders)
            if isinstance(reference, FileReference):
                targets.append((alias, os.path.realpath(reference.path)))
            else:
                targets.append((alias, str(reference)))
    return targets
