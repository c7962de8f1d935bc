"""Puts the settings that tuning found where nothing else was said, just before a model is opened.

Knows nothing of models by name: a file's fingerprint finds them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.errors import StoreError, UsageError
from lmlab.lab.tuning.saved import Tuned, mark_told, tuned_for
from lmlab.models import fingerprint
from lmlab.settings import Paths


class SavedSettings:
    """``kv_said``: the KV types in a LoadSpec were asked for. ``say`` gets a line for a person, on whichever thread asks."""

    def __init__(self, paths: Paths, *, kv_said: bool, say: Callable[[str], None]) -> None:
        self._paths = paths
        self._kv_said = kv_said
        self._say = say
        self._said: set[str] = set()

    def opener(
        self, opener: Callable[[LoadSpec, StatusSink], Backend], *, tell: bool = True
    ) -> Callable[[LoadSpec, StatusSink], Backend]:
        """Return what opens as ``opener`` does, with what was found for each model; ``tell`` has it said."""
        return lambda spec, on_status: opener(self.over(spec, tell=tell), on_status)

    def over(self, spec: LoadSpec, *, tell: bool = True) -> LoadSpec:
        """Return ``spec``, which names its file, with what was found for it."""
        tuned = self._find(spec)
        if tuned is None:
            return spec
        used = tuned.settings.over(spec, kv_said=self._kv_said)
        if tell:
            self._tell(tuned, used)
        return used

    def results_over(self, spec: LoadSpec) -> LoadSpec:
        """As ``over``, with those only that a record of replies is to have in it: not how many threads made them."""
        tuned = self._find(spec)
        if tuned is None:
            return spec
        used = tuned.settings.over(spec, kv_said=self._kv_said)
        self._tell(tuned, used)
        return replace(used, threads=spec.threads, ubatch=spec.ubatch)

    def _find(self, spec: LoadSpec) -> Tuned | None:
        # Other threads add up in another order, so what is to repeat byte for byte stays as it is.
        if spec.deterministic or spec.rank or not self._paths.tuned.exists():
            return None
        try:
            tuned = tuned_for(self._paths, fingerprint(Path(spec.path)))
        except StoreError as error:
            self._say(f"loaded without tuned settings: {error}")
            return None
        # What is fast on the processor need not be so beside a GPU.
        return tuned if tuned is not None and tuned.gpu_layers == spec.gpu_layers else None

    def _tell(self, tuned: Tuned, used: LoadSpec) -> None:
        """Say it the first time, and always where replies differ for it."""
        settings = tuned.settings.in_force(used)
        known = tuned.told and not settings.changes_output
        if not settings.words() or known or tuned.fingerprint in self._said:
            return
        self._said.add(tuned.fingerprint)
        self._say(
            f"{tuned.ref} is loaded with {settings.words()}, as lmlab bench --tune found faster here "
            f"({tuned.gain:+.0%}); lmlab bench --tune --forget {shlex.quote(tuned.ref)} undoes that"
        )
        if not tuned.told:
            # Where it cannot be noted it is said again.
            with suppress(StoreError, UsageError):
                mark_told(self._paths, tuned)
