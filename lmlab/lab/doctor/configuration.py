"""What a person has set: the config file, presets of their own, and settings that were tuned for this machine."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict

from lmlab.errors import LmlabError
from lmlab.lab.doctor.finding import Finding, guarded
from lmlab.lab.presets import Presets
from lmlab.lab.tuning.machine import machine
from lmlab.lab.tuning.saved import load_tuned
from lmlab.settings import Config, Paths, load_config
from lmlab.terminal_text import one_line

SECTION = "settings"


def read(paths: Paths) -> tuple[Config, Finding]:
    """Return the config file as it is, or an empty one where it cannot be used, and what there is to say of it."""
    values = {"path": str(paths.config), "exists": paths.config.exists()}
    try:
        config = load_config(paths.config)
    except LmlabError as error:
        return Config(), Finding(
            SECTION, "config file", "broken", one_line(str(error), 600), f"mend {paths.config}, or move it away", values
        )
    if not values["exists"]:
        return config, Finding(SECTION, "config file", "ok", f"none at {paths.config}; it need not be", values=values)
    sets = [
        name
        for name, value in (
            ("model", config.model),
            ("system", config.system),
            ("theme", config.theme),
            ("[sampling]", config.sampling.to_dict()),
            ("[aliases]", config.aliases),
            ("[keys]", config.keys),
            ("model_folders", config.model_folders),
        )
        if value
    ]
    said = f"{paths.config}, valid; it sets {', '.join(sets) or 'no more than defaults'}"
    return config, Finding(SECTION, "config file", "ok", said, values=values)


def check(paths: Paths) -> Iterator[Finding]:
    yield from guarded(SECTION, "presets", functools.partial(_presets, paths))
    yield from guarded(SECTION, "tuned", functools.partial(_tuned, paths))


def _presets(paths: Paths) -> Iterator[Finding]:
    own = [preset.name for preset in Presets(paths.presets).all() if preset.own]
    if own:
        yield Finding(SECTION, "presets", "ok", f"{len(own)} of your own: {one_line(', '.join(own))}")


def _tuned(paths: Paths) -> Iterator[Finding]:
    kept = load_tuned(paths)
    for tuned in kept:
        if tuned.machine == machine():
            text = f"{tuned.ref}: {tuned.settings.words()} ({tuned.gain:+.0%} {tuned.objective}, {tuned.date[:10]})"
            values = {"ref": tuned.ref, "settings": asdict(tuned.settings), "gain": tuned.gain, "date": tuned.date}
            yield Finding(SECTION, "tuned", "ok", one_line(text), values=values)
    elsewhere = sum(tuned.machine != machine() for tuned in kept)
    if elsewhere:
        text = f"{elsewhere} more, found on other machines, are not used on this one"
        yield Finding(SECTION, "tuned", "note", text, "lmlab bench --tune MODEL finds this one's")
    if not kept:
        yield Finding(SECTION, "tuned", "ok", "nothing; lmlab bench --tune MODEL looks for faster settings")
