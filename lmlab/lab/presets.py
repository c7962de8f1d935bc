"""Presets: named ways to draw tokens, those that come with lmlab and a person's own. Knows nothing of chats or screens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lmlab.errors import SamplingError, UsageError
from lmlab.sampling import DEFAULTS, SamplingParams, ineffective
from lmlab.settings import write_private

SHAPE = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "repeat_last_n",
    "presence_penalty",
    "frequency_penalty",
)
"""What a preset says: how tokens are drawn. Seed, length and stop texts belong to what is asked, and stay."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
# Words of /preset that are no names.
_RESERVED = ("save", "remove", "undo", "unset")
_FILE_LIMIT = 2**20


@dataclass(frozen=True, slots=True)
class Preset:
    """``sampling`` has all of SHAPE and nothing else, so that a name means the same with every model."""

    name: str
    sampling: SamplingParams
    about: str = "your own"
    own: bool = True

    def over(self, asked: SamplingParams) -> SamplingParams:
        """Return ``asked`` drawn as this preset has it."""
        return self.sampling.merge(asked)

    def matches(self, in_force: SamplingParams) -> bool:
        """Whether tokens drawn with ``in_force`` are drawn so; what has no effect makes no difference."""
        return _effective(self.sampling) == _effective(in_force)


def shape_of(in_force: SamplingParams) -> SamplingParams:
    """Return what a preset keeps of ``in_force``; what that leaves open is llama.cpp's default."""
    return SamplingParams(**{name: getattr(in_force.merge(DEFAULTS), name) for name in SHAPE})


def _built_in(name: str, about: str, **sampling: Any) -> Preset:
    return Preset(name, shape_of(SamplingParams(**sampling)), about, own=False)


BUILT_IN: tuple[Preset, ...] = (
    _built_in("greedy", "always the likeliest token", temperature=0),
    _built_in("precise", "little variation: facts, code, extraction", temperature=0.3, top_p=0.9, min_p=0.1),
    _built_in("balanced", "llama.cpp's defaults"),
    # Top-k and top-p off: min-p alone keeps a flat distribution coherent, for it goes by the likeliest token.
    _built_in("creative", "varied: stories, ideas", temperature=1.2, top_k=0, top_p=1, min_p=0.05),
)
_BUILT_IN_NAMES = tuple(preset.name for preset in BUILT_IN)


class Presets:
    """Those that come with lmlab, then a person's own, which are in the JSON file at ``path``: its names, each with
    sampling parameters. The file is read whenever it is needed: another lmlab may have written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> tuple[Preset, ...]:
        """Raises UsageError that names the file and what is wrong in it."""
        return (*BUILT_IN, *(Preset(name, sampling) for name, sampling in self._own().items()))

    def get(self, name: str) -> Preset:
        """Raises UsageError that says which there are."""
        wanted = name.strip().lower()
        # Those that come with lmlab are there whatever the file is like.
        known = {preset.name: preset for preset in (BUILT_IN if wanted in _BUILT_IN_NAMES else self.all())}
        if wanted in known:
            return known[wanted]
        near = get_close_matches(wanted, known, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"no preset is called {name!r}: {hint}")

    def save(self, name: str, in_force: SamplingParams) -> Preset | None:
        """Keep how ``in_force`` draws under ``name``; return the preset that was called so before.

        Raises UsageError for a name that cannot be had, or when the file cannot be read or written.
        """
        name = name.strip().lower()
        if name in _BUILT_IN_NAMES:
            raise UsageError(f"{name} comes with lmlab and stays as it is: choose another name")
        if name in _RESERVED or not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a preset: use up to 40 small letters, digits, - and _, "
                f"and none of {', '.join(_RESERVED)}"
            )
        own = self._own()
        before = own.get(name)
        self._write({**own, name: shape_of(in_force)})
        return Preset(name, before) if before is not None else None

    def remove(self, name: str) -> Preset:
        """Forget a person's own preset and return it. Raises UsageError when there is none such."""
        preset = self.get(name)
        if not preset.own:
            raise UsageError(f"{preset.name} comes with lmlab and cannot be removed")
        self._write({other: sampling for other, sampling in self._own().items() if other != preset.name})
        return preset

    def _own(self) -> dict[str, SamplingParams]:
        try:
            with self._path.open("rb") as file:
                data = file.read(_FILE_LIMIT + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(f"cannot read your presets in {self._path}: {error.strerror}") from None
        try:
            if len(data) > _FILE_LIMIT:
                raise ValueError(f"it has over {_FILE_LIMIT:,} bytes")
            values = json.loads(data.decode("utf-8-sig"))
            if not isinstance(values, dict):
                raise ValueError('write {"name": {"temperature": 0.5}}')
            return {name: _read(name, value) for name, value in values.items()}
        except (ValueError, RecursionError, SamplingError) as error:
            raise UsageError(
                f"your presets in {self._path} cannot be read: {error}; mend the file, or move it away"
            ) from None

    def _write(self, own: Mapping[str, SamplingParams]) -> None:
        values = {name: sampling.to_dict() for name, sampling in sorted(own.items())}
        try:
            write_private(self._path, json.dumps(values, indent=2) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write your presets to {self._path}: {error.strerror}") from None


def _read(name: str, value: Any) -> SamplingParams:
    if name in _BUILT_IN_NAMES or name in _RESERVED or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a preset")
    if not isinstance(value, dict):
        raise ValueError(f"{name}: write sampling parameters in braces")
    if other := sorted(value.keys() - set(SHAPE)):
        raise ValueError(f"{name}: a preset has no {other[0]!r}, only {', '.join(SHAPE)}")
    try:
        return shape_of(SamplingParams(**value))
    except SamplingError as error:
        raise ValueError(f"{name}: {error}") from None


def _effective(sampling: SamplingParams) -> dict[str, Any]:
    without = ineffective(sampling)
    return {name: getattr(sampling, name) for name in SHAPE if name not in without}
