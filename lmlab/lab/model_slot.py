"""The one model that is open: from what was typed to a backend, in a thread, the old one kept until the new one's file
is in hand. Knows nothing of conversations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeAlias

from lmlab.backends import Backend, LoadSpec, ModelInfo, Status, StatusSink
from lmlab.errors import LmlabError, ModelError
from lmlab.lab.draft import with_draft
from lmlab.models import ModelFile, Progress
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

Opener: TypeAlias = Callable[[LoadSpec, StatusSink], Backend]


class Resolve(Protocol):
    """``lmlab.models.resolve``: what was typed to a file on disk, fetched if need be."""

    def __call__(
        self,
        ref: str | None,
        *,
        paths: Paths,
        config: Config,
        offline: bool,
        progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> ModelFile: ...


@dataclass(frozen=True, slots=True)
class Transcript:
    """How a base model chats: the Jinja2 source that writes the conversation as text, and what ends a reply."""

    source: str
    stop: tuple[str, ...]


@dataclass(eq=False, slots=True)
class OpenModel:
    """A model in use. ``transcript`` is None when it has a chat template; ``info`` is None until it has loaded once.

    ``replaces``: another was open before it.
    """

    file: ModelFile
    fingerprint: str
    transcript: Transcript | None
    backend: Backend = field(init=False)
    info: ModelInfo | None = None
    replaces: bool = False

    @property
    def recommended(self) -> SamplingParams:
        return self.info.recommended if self.info else self.file.header.recommended

    def asked_of(self, asked: SamplingParams) -> SamplingParams:
        """Return ``asked`` and, for a base model, what ends a turn of the transcript."""
        if self.transcript is None:
            return asked
        return replace(asked, stop=tuple(dict.fromkeys((*(asked.stop or ()), *self.transcript.stop))))


def size_and_quantization(file: ModelFile) -> str:
    """Return what the file's header says of the model, as people say it: ``135M Q4_1``."""
    return f"{_parameters(file.header.parameters)} {file.header.quantization}"


@dataclass(eq=False, slots=True)
class _Job:
    ref: str | None
    cancelled: threading.Event = field(default_factory=threading.Event)


class SlotListener(Protocol):
    """Called on the slot's thread or the backend's."""

    def on_progress(self, progress: Progress) -> None: ...
    def on_open(self, model: OpenModel) -> None: ...
    def on_open_failed(self, error: LmlabError) -> None: ...
    def on_status(self, model: OpenModel, status: Status) -> None: ...


class ModelSlot:
    """Holds ``current``. ``open`` and ``close`` belong to one thread."""

    def __init__(
        self,
        listener: SlotListener,
        *,
        opener: Opener,
        load: LoadSpec,
        resolve: Resolve,
        fingerprint: Callable[[Path], str],
        paths: Paths,
        config: Config,
        offline: bool,
    ) -> None:
        self.current: OpenModel | None = None
        self._listener = listener
        self._opener = opener
        self._load = load
        self._resolve = resolve
        self._fingerprint = fingerprint
        self._paths = paths
        self._config = config
        self._offline = offline
        self._job: _Job | None = None
        self._job_lock = threading.Lock()
        # Held while one backend gives way to another, so that ``close`` finds either and no third is started.
        self._swapping = threading.Lock()

    @property
    def opening(self) -> bool:
        """Whether another model is on its way: being found, fetched or handed to a backend."""
        return self._job is not None

    def open(self, ref: str | None) -> None:
        """Begin to open ``ref`` and return at once; one that is on its way already is given up."""
        job = _Job(ref)
        self._replace(job)
        threading.Thread(target=self._run, args=(job,), name="lmlab-model", daemon=True).start()

    def make_room(self, sequences: int) -> None:
        """Have what is opened from now on decode so many sequences at once, at least."""
        self._load = replace(self._load, sequences=max(sequences, self._load.sequences))

    def close(self) -> None:
        """End the model and whatever is on its way."""
        self._replace(None)
        with self._swapping:
            model, self.current = self.current, None
        if model is not None:
            model.backend.close()

    def _replace(self, job: _Job | None) -> None:
        with self._job_lock:
            old, self._job = self._job, job
        if old is not None:
            old.cancelled.set()

    def _done(self, job: _Job) -> bool:
        """Take ``job`` off; False when it was given up before."""
        with self._job_lock:
            if self._job is not job:
                return False
            self._job = None
            return True

    def _run(self, job: _Job) -> None:
        def progress(value: Progress) -> None:
            if self._job is job:
                self._listener.on_progress(value)

        def find(ref: str | None) -> ModelFile:
            return self._resolve(
                ref,
                paths=self._paths,
                config=self._config,
                offline=self._offline,
                progress=progress,
                cancelled=job.cancelled.is_set,
            )

        try:
            file = find(job.ref)
            spec = replace(with_draft(self._load, find), path=str(file.path))
            model = OpenModel(file, self._fingerprint(file.path), _transcript_for(file))
            opened = self._swap_in(job, model, spec)
        except LmlabError as error:
            if self._done(job):
                self._listener.on_open_failed(error)
            return
        except Exception as error:
            # A defect: its traceback goes where all such go, but who waits for the model must not wait for ever.
            if self._done(job):
                self._listener.on_open_failed(ModelError(f"the model was not opened: unexpected {error!r}"))
            raise
        if opened:
            self._listener.on_open(model)

    def _swap_in(self, job: _Job, model: OpenModel, spec: LoadSpec) -> bool:
        with self._swapping:
            if self._job is not job:
                return False
            old, self.current = self.current, None
            if old is not None:
                old.backend.close()
                model.replaces = True
            model.backend = self._opener(spec, lambda status: self._listener.on_status(model, status))
            self.current = model
            model.backend.start()
            return self._done(job)


def _parameters(number: int) -> str:
    if number < 999_500_000:
        return f"{number / 1e6:.0f}M"
    billions = number / 1e9
    return f"{billions:.1f}B" if billions < 99.5 else f"{billions:.0f}B"


def _transcript_for(file: ModelFile) -> Transcript | None:
    if file.header.chat_template:
        return None
    # Imported here: only a base model needs it, and it costs start-up time.
    from lmlab.prompting import transcript

    source, stop = transcript()
    return Transcript(source, stop)
