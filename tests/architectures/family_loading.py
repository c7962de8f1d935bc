"""Loads the tiny models of families as the worker does, and closes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from families import Family

from lmlab.engine import Engine
from lmlab.llama import Library
from lmlab.models import GgufHeader
from lmlab.models.card import Card
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import Loaded, load
from lmlab.worker.messages import LoadSpec

PLENTY = 10**15


class Loader:
    """Loads models and closes them. llama.cpp's log goes to whoever loads now: a process has one Library."""

    def __init__(self) -> None:
        self._log = LoadLog()
        self._library = Library(lambda level, line: self._log.take(level, line), lambda message: None)
        self._loaded: list[Loaded] = []

    def __call__(self, spec: LoadSpec) -> Loaded:
        self._log = LoadLog()
        self._loaded.append(load(spec, self._library, self._log, lambda fraction: None, available=lambda: PLENTY))
        return self._loaded[-1]

    def close(self) -> None:
        for loaded in self._loaded:
            loaded.engine._context.close()
            loaded.model.close()
        self._loaded.clear()


@dataclass(frozen=True, slots=True)
class Tiny:
    """One family's model. ``uncached`` is an engine beside ``loaded``'s that decodes every prompt whole."""

    family: Family
    spec: LoadSpec
    loaded: Loaded
    uncached: Engine
    header: GgufHeader
    card: Card


def spec_of(path: Path) -> LoadSpec:
    """As exact as can be: what rounds differently in batches of another shape is off."""
    return LoadSpec(
        str(path),
        context=512,
        threads=1,
        gpu_layers=0,
        sequences=4,
        key_type="f32",
        value_type="f32",
        flash_attention=False,
    )
