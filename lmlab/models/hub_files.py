"""Which file of a Hugging Face repository is meant, and whether it is already in the library's cache.

Reads the cache by its documented layout, so that a model that is here costs no import and no network:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache. Knows nothing of fetching.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lmlab.errors import DownloadError, ModelNotFound
from lmlab.models.header import part_names
from lmlab.models.local_files import gguf_files
from lmlab.terminal_text import one_line

PREFERRED = "Q4_K_M"
_NOT_MODELS = re.compile(r"^(mmproj|imatrix)", re.IGNORECASE)
_QUANTIZATION = re.compile(
    r"(?:^|[-._/])(I?Q\d\w*|TQ\d_0|MXFP4\w*|NVFP4|BF16|F16|FP16|F32|FP32)(?=[-.]|$)", re.IGNORECASE
)
_TRUE = {"1", "ON", "YES", "TRUE"}
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class HubReference:
    """``owner/repo`` and what follows the colon: a quantization, a file, or None."""

    repo: str
    selector: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.repo}:{self.selector}" if self.selector else f"hf:{self.repo}"

    @property
    def file(self) -> str | None:
        """The file, when one is named exactly."""
        return self.selector if self.selector and self.selector.lower().endswith(".gguf") else None


def choose(names: Sequence[str], reference: HubReference) -> str:
    """Return the file of ``names`` that ``reference`` means; of a model in parts, the first.

    A quantization matches a whole word of the file's path, in any case. None means Q4_K_M, or the only one there is.
    Raises ModelNotFound that lists what there is, when none matches or several do.
    """
    models = models_among(names)
    if not models:
        raise ModelNotFound(f"{reference.repo} holds no .gguf file: look for a repository whose name ends in GGUF")
    if reference.file:
        found = _named(models, reference.file)
    elif reference.selector:
        found = [name for name in models if _is_quantization(name, reference.selector)]
    else:
        found = models if len(models) == 1 else [name for name in models if _is_quantization(name, PREFERRED)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join((found or models)[:_SHOWN]) + (", …" if len(found or models) > _SHOWN else "")
    wanted = reference.selector or PREFERRED
    if found:
        raise ModelNotFound(
            one_line(
                f"{wanted} is several files of {reference.repo}; give one in full, as hf:{reference.repo}:FILE: {listed}",
                900,
            )
        )
    raise ModelNotFound(
        one_line(f"{reference.repo} has no {wanted}; it holds {listed}: give one as hf:{reference.repo}:FILE", 900)
    )


def quantization_in(name: str) -> str | None:
    """Return the quantization that a file's name ends in or holds last, as it is written there."""
    found = _QUANTIZATION.findall(PurePosixPath(part_names(PurePosixPath(name).name)[0]).name.removesuffix(".gguf"))
    return found[-1] if found else None


def models_among(names: Iterable[str]) -> list[str]:
    """Return those of a repository's files that are models, sorted; of one in parts, the first."""
    return sorted({first for name in names if (first := _first_part(name))})


def all_parts(name: str) -> tuple[str, ...]:
    """Return the paths of every part of the model whose first file is ``name``."""
    folder, _, base = name.rpartition("/")
    return tuple(f"{folder}/{part}" if folder else part for part in part_names(base))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the library's cache of repositories, by the variables it reads itself."""
    if named := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return _expanded(named)
    if home := environ.get("HF_HOME"):
        return _expanded(home) / "hub"
    return _expanded(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def repo_folder(repo: str, environ: Mapping[str, str]) -> Path:
    return cache_folder(environ) / f"models--{repo.replace('/', '--')}"


def hub_is_off(environ: Mapping[str, str]) -> bool:
    """Whether the person switched the hub off."""
    return (environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE") or "").upper() in _TRUE


def find_cached(reference: HubReference, environ: Mapping[str, str]) -> Path | None:
    """Return the file ``reference`` means among those the cache holds whole, every part of them; else None."""
    snapshot = _snapshot(reference.repo, environ)
    if snapshot is None:
        return None
    names = cached_names(reference.repo, environ)
    try:
        name = choose(names, reference)
    except ModelNotFound:
        models = models_among(names)
        if reference.selector or not models:
            return None
        # Nobody named one and several are here: none of them needs to be fetched.
        name = max(models, key=lambda model: (snapshot / model).stat().st_mtime)
    return snapshot.joinpath(*PurePosixPath(name).parts)


def cached_or_error(reference: HubReference, environ: Mapping[str, str]) -> Path:
    """Return the cached file without any network. Raises DownloadError that says what the cache holds."""
    if cached := find_cached(reference, environ):
        return cached
    raise DownloadError(f"offline, and {absence(reference, environ)}: fetch it once without --offline")


def absence(reference: HubReference, environ: Mapping[str, str]) -> str:
    """Return that the cache lacks it and what it has instead, to follow "and"."""
    names = cached_names(reference.repo, environ)
    held = f" (of that repository it holds {', '.join(names[:6])})" if names else ""
    return f"{reference} is not in the cache {cache_folder(environ)}{held}"


def cached_names(repo: str, environ: Mapping[str, str]) -> list[str]:
    """Return the GGUF files of ``repo`` that the cache holds at its main branch, models in parts only when whole."""
    snapshot = _snapshot(repo, environ)
    if snapshot is None:
        return []
    names = {path.relative_to(snapshot).as_posix() for path in gguf_files(snapshot)}
    return sorted(name for name in names if set(all_parts(name)) <= names)


def cached_repos(environ: Mapping[str, str]) -> list[str]:
    """Return the repositories of which the cache holds anything."""
    try:
        names = sorted(os.listdir(cache_folder(environ)))
    except OSError:
        return []
    prefix = "models--"
    return [name.removeprefix(prefix).replace("--", "/", 1) for name in names if name.startswith(prefix)]


def cached_models(repo: str, environ: Mapping[str, str]) -> list[str]:
    """Return the models of ``repo`` that the cache holds whole; of one in parts, the first file."""
    return models_among(cached_names(repo, environ))


def _snapshot(repo: str, environ: Mapping[str, str]) -> Path | None:
    folder = repo_folder(repo, environ)
    try:
        commit = (folder / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def _first_part(name: str) -> str | None:
    if not name.lower().endswith(".gguf") or _NOT_MODELS.match(PurePosixPath(name).name):
        return None
    return all_parts(name)[0]


def _named(models: list[str], wanted: str) -> list[str]:
    first = all_parts(wanted)[0]
    return [name for name in models if name == first] or [name for name in models if PurePosixPath(name).name == first]


def _is_quantization(name: str, quantization: str) -> bool:
    # Bounded on the right by anything but an underscore: Q4_K is not in Q4_K_M; on the left IQ4_XS has no Q4_XS.
    word = rf"(?:^|[-._/]){re.escape(quantization)}(?=[-./]|$)"
    stem = name[: -len(".gguf")]
    return re.search(word, stem, re.IGNORECASE) is not None


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser()
