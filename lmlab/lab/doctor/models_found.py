"""The models on this machine: how many, how large, which fit, and which one is used when none is named."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lmlab.errors import DownloadError, LmlabError
from lmlab.lab.doctor.finding import Finding, counted
from lmlab.memory import available_memory
from lmlab.models import ModelFile, find_here, resolve, size_text
from lmlab.models.here import Found, models_here
from lmlab.settings import Config, Paths
from lmlab.terminal_text import one_line

SECTION = "models"
FETCH = "lmlab models pull smollm2"
_SHOWN = 8
_FITS = {"yes": "fits", "short": "fits with a short context", "no": "does not fit"}
_DAY_S = 86_400


class ModelsFound:
    """What ``look`` sees. ``model`` is the one to try: the one named, else the default, else the smallest that fits."""

    def __init__(self, paths: Paths, config: Config, environ: Mapping[str, str] = os.environ) -> None:
        self._paths = paths
        self._config = config
        self._environ = environ
        self.model: ModelFile | None = None

    def look(
        self, named: str | None, available: Callable[[], int] = available_memory, now: Callable[[], float] = time.time
    ) -> Iterator[Finding]:
        found, problems = models_here(self._paths, self._config, self._environ)
        found.sort(key=lambda one: -_last_read(one.place.path))
        yield _summary(found, available())
        for one in found[:_SHOWN]:
            yield _about(one, available(), now())
        for problem in problems:
            yield Finding(SECTION, "damaged", "warning", one_line(problem, 400), "remove or fetch it again")
        yield self._chosen(named, found, available())

    def _chosen(self, named: str | None, found: list[Found], available: int) -> Finding:
        try:
            if named is not None:
                self.model = find_here(named, paths=self._paths, config=self._config, environ=self._environ)
                return _named(self.model, "as asked for")
            self.model = resolve(None, paths=self._paths, config=self._config, offline=True, environ=self._environ)
            return _named(self.model, self._why(self.model))
        except DownloadError:
            return self._without_default(found, available)
        except LmlabError as error:
            # The error itself says what to do.
            return Finding(SECTION, "default", "broken", one_line(str(error), 400))

    def _without_default(self, found: list[Found], available: int) -> Finding:
        """Return what is said when the starter would have to be fetched first."""
        fitting = [one for one in found if one.facts.fit(available) != "no"]
        if not fitting:
            text = "none is here that can be used: the first chat fetches smollm2 (about 100 MB)"
            return Finding(SECTION, "default", "note", text, f"fetch it now: {FETCH}")
        smallest = min(fitting, key=lambda one: one.facts.size)
        self.model = find_here(str(smallest.place.path), paths=self._paths, config=self._config, environ=self._environ)
        text = f"none is set: lmlab chat would fetch smollm2; {smallest.place.ref} is tried here"
        advice = f"LMLAB_MODEL={smallest.place.ref}, or model = in the config file, makes one the default"
        return Finding(SECTION, "default", "note", one_line(text), one_line(advice))

    def _why(self, model: ModelFile) -> str:
        if self._environ.get("LMLAB_MODEL"):
            return "by LMLAB_MODEL"
        if self._config.model:
            return "by the config file"
        return "used last" if model.used_last else "the starter"


def _summary(found: list[Found], available: int) -> Finding:
    total = sum(one.facts.size for one in found)
    fits = sum(one.facts.fit(available) != "no" for one in found)
    values = {"count": len(found), "size": total, "fit": fits, "available": available}
    if not found:
        return Finding(SECTION, "here", "note", "none yet", f"fetch one: {FETCH}", values)
    more = f"; the {_SHOWN} read last" if len(found) > _SHOWN else ""
    text = f"{counted(len(found), 'model')}, {size_text(total)} on disk; {fits:,} can be loaded into {size_text(available)}{more}"
    return Finding(SECTION, "here", "ok", text, values=values)


def _about(one: Found, available: int, now: float) -> Finding:
    facts, fit = one.facts, one.facts.fit(available)
    days = int(max(0.0, now - _last_read(one.place.path)) // _DAY_S)
    read = "today" if days == 0 else "yesterday" if days == 1 else f"{days:,} days ago"
    said = f"{one.place.ref}: {facts.architecture} {facts.quantization}, {size_text(facts.size)}, {_FITS[fit]}, read {read}"
    values = {"ref": one.place.ref, "path": str(one.place.path), "size": facts.size, "fits": fit, "days_unread": days}
    return Finding(SECTION, "model", "ok" if fit == "yes" else "note", one_line(said, 300), values=values)


def _named(model: ModelFile, why: str) -> Finding:
    values = {"ref": model.ref, "path": str(model.path)}
    return Finding(SECTION, "default", "ok", one_line(f"{model.ref}, {why}", 300), values=values)


def _last_read(path: Path) -> float:
    """Return when the file system says that the file was last read, which it may note no more than once a day."""
    try:
        return path.stat().st_atime
    except OSError:
        return 0.0
