"""All checks in their order. Whatever goes wrong within one is a finding, and the next is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from lmlab.backends import LoadSpec, Status
from lmlab.lab.doctor import (
    configuration,
    generation,
    graphics,
    main_memory,
    models_found,
    network,
    places,
    processor,
    storage,
)
from lmlab.lab.doctor.engine import LOADING, VERSIONS, Engine
from lmlab.lab.doctor.finding import Finding, guarded
from lmlab.lab.doctor.generation import Opener
from lmlab.lab.doctor.probe import Probe
from lmlab.lab.tuning.using import SavedSettings
from lmlab.settings import Paths
from lmlab.terminal_text import one_line
from lmlab.worker.messages import LOOKUP


@dataclass(frozen=True, slots=True)
class Examination:
    """What to look at, and how. ``spec``: how models are loaded unless something else is said, with no path yet.

    ``model`` is the reference of the one to try; None is the default. ``surroundings`` are checks of whoever asks, made
    after the settings. ``kv_said``: the KV types in ``spec`` were asked for. ``on_status`` hears of the model that is loaded.
    """

    paths: Paths
    opener: Opener
    spec: LoadSpec = field(default_factory=lambda: LoadSpec(path=""))
    kv_said: bool = False
    model: str | None = None
    generate: bool = True
    online: bool = False
    probe: Probe = field(default_factory=Probe)
    surroundings: Callable[[], Iterable[Finding]] = tuple
    on_status: Callable[[Status], None] = lambda status: None
    cancelled: Callable[[], bool] = lambda: False

    def findings(self) -> Iterator[Finding]:
        """Yield them as they are found, those of a section together; fewer once ``cancelled``."""
        config, about_config = configuration.read(self.paths)
        models = models_found.ModelsFound(self.paths, config, self.probe.environ)
        about_models = list(guarded(models_found.SECTION, "here", functools.partial(models.look, self.model)))
        spec = None if models.model is None else self._spec(str(models.model.path))
        engine = Engine()
        engine.look(spec, log_folder=self.paths.logs, cancelled=self.cancelled)
        checks: list[tuple[str, str, Callable[[], Iterable[Finding]]]] = [
            (VERSIONS, "llama.cpp", engine.versions),
            (processor.SECTION, "processor", functools.partial(processor.check, self.probe, engine.build)),
            (graphics.SECTION, "seen", functools.partial(graphics.check, self.probe, engine.build)),
            (main_memory.SECTION, "main memory", functools.partial(main_memory.check, self.probe)),
            (places.SECTION, "data", functools.partial(places.check, self.paths, self.probe.environ)),
            (configuration.SECTION, "config file", lambda: (about_config, *configuration.check(self.paths))),
            (configuration.SECTION, "surroundings", self.surroundings),
            (storage.SECTION, "database", functools.partial(storage.check, self.paths, config)),
            (models_found.SECTION, "here", lambda: about_models),
        ]
        if self.online:
            checks.append((network.SECTION, "model hub", functools.partial(network.check, self.probe.environ)))
        if models.model is not None and spec is not None:
            ref = models.model.ref
            checks.append((LOADING, "layout", functools.partial(engine.loading, ref)))
            checks.append((LOADING, "draft", self._draft))
            if self.generate and engine.can_load:
                speak = functools.partial(
                    generation.check, ref, spec, self.opener, self.on_status, cancelled=self.cancelled
                )
                checks.append((generation.SECTION, "loaded", speak))
        for section, name, check in checks:
            if self.cancelled():
                return
            yield from guarded(section, name, check)

    def _draft(self) -> Iterator[Finding]:
        if self.spec.draft is not None:
            text = f"{self.spec.draft} is not tried here: two runs that guess differently are not the same sums"
            yield Finding(LOADING, "draft", "note", one_line(text), "lmlab run --draft tries it")

    def _spec(self, path: str) -> LoadSpec:
        """Return how a chat would load the model at ``path``, tuned settings included."""
        saved = SavedSettings(self.paths, kv_said=self.kv_said, say=lambda line: None)
        # Prompt lookup takes rows of logits; a model would have to be found first, and drafts for nothing here.
        draft = self.spec.draft if self.spec.draft == LOOKUP else None
        return saved.over(replace(self.spec, path=path, draft=draft))
