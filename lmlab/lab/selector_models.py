"""The models that selectors use: found as any model is, opened once each, closed together. Knows nothing of selecting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from lmlab.backends import Backend, LoadSpec, Status, StatusSink
from lmlab.models import ModelFile


class SelectorModels:
    """``load`` says how, as for the model that answers, without what belongs to that one alone."""

    def __init__(
        self,
        load: LoadSpec,
        *,
        resolve: Callable[[str], ModelFile],
        opener: Callable[[LoadSpec, StatusSink], Backend],
    ) -> None:
        self._load = replace(load, draft=None, lora=(), snapshots=None, deterministic=False)
        self._resolve = resolve
        self._opener = opener
        self._open: dict[tuple[str, bool], Backend] = {}
        self._lock = threading.Lock()

    def open(self, ref: str, rank: bool) -> Backend:
        """Return the backend of ``ref``, to generate or to ``rank``. Raises what finding or loading it raises."""
        path = str(self._resolve(ref).path)
        with self._lock:
            backend = self._open.get((path, rank))
            if backend is None:
                backend = self._opener(replace(self._load, path=path, rank=rank), _unheard)
                self._open[path, rank] = backend
        # Now rather than at the first choice: a model that does not load must not cost a run its beginning.
        backend.wait_ready()
        return backend

    def close(self) -> None:
        with self._lock:
            backends = tuple(self._open.values())
            self._open.clear()
        for backend in backends:
            backend.close()


def _unheard(status: Status) -> None:
    pass
