"""A variant: everything that can differ between two answers, written ``MODEL[@key=value,...]``.

Knows nothing of what the values do; opens no model and no template.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import PureWindowsPath
from typing import Any, Literal, TypeAlias, get_args

from lmlab.backends import Lora
from lmlab.errors import LmlabError, UsageError
from lmlab.lab.best_of import SelectorSpec, parse_selector
from lmlab.lab.presets import Preset, Presets
from lmlab.lab.variant_text import Setting, may_begin, quoted, split_variant
from lmlab.sampling import BY_NAME, SamplingParams
from lmlab.settings import Paths, expanded
from lmlab.terminal_text import one_line

Technique: TypeAlias = Literal["zero-shot", "few-shot", "cot", "few-shot-cot"]
_TECHNIQUES: tuple[Technique, ...] = get_args(Technique)

_MAX = 2**31 - 1
_ALIASES = {"temp": "temperature", "ctx_size": "ctx"}
_REPEATABLE = ("lora", "stop")
_LABEL, _LABEL_VALUE = 60, 24


@dataclass(frozen=True, slots=True)
class Variant:
    """``ref`` None is the default model; what is None or empty was not said. ``text`` is what was typed.

    ``sampling`` has the ``preset`` in it, below what was said besides.
    ``str(variant)`` is the variant again, written one way: ``parse_variant`` gives an equal one back.
    """

    ref: str | None
    label: str
    sampling: SamplingParams = field(default_factory=SamplingParams)
    preset: Preset | None = None
    template: str | None = None
    technique: Technique | None = None
    shots: int | None = None
    system: str | None = None
    lora: tuple[Lora, ...] = ()
    context: int | None = None
    best_of: int | None = None
    select: SelectorSpec | None = None
    draft: str | None = None
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        settings = _settings(self)
        ref = self.ref or ""
        # The name of a file may look like a setting; one that follows it makes clear where settings begin.
        if self.label != _default_label(ref, settings) or (not settings and may_begin(ref)):
            settings = [*settings, ("label", self.label)]
        return _joined(ref, settings)


def parse_variant(text: str) -> Variant:
    """Return the variant that ``text`` means. Raises UsageError that says which part is wrong and what it may be."""
    ref, settings = split_variant(text)
    if not ref and not settings:
        raise UsageError("the variant is empty: write MODEL, or MODEL@temperature=0.2,top_k=40")
    if not settings:
        _check_no_value_is_missing(ref)
    values: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    for typed, value in settings:
        key = _key(text, typed)
        into = sampling if key in BY_NAME or key == "stop" else values
        if key in into and key not in _REPEATABLE:
            raise _wrong(text, f"{typed} is given twice")
        try:
            parsed = _READERS[key](value)
        except LmlabError as error:
            raise _wrong(text, str(error)) from None
        into[key] = (*into.get(key, ()), parsed) if key in _REPEATABLE else parsed
    label = values.pop("label", None)
    asked, preset = SamplingParams(**sampling), values.get("preset")
    if preset is not None:
        asked = asked.merge(preset.sampling)
    variant = Variant(ref or None, "", asked, context=values.pop("ctx", None), text=text, **values)
    return _labelled(variant, label)


def parse_lora(text: str, name: str = "lora") -> Lora:
    """Return the adapter ``FILE[:SCALE]`` names; what follows the last colon is a scale if no file is called so.

    ``name`` is what errors call the setting.
    """
    file, colon, last = text.rpartition(":")
    scale, path = 1.0, expanded(text)
    if colon and file and not path.exists():
        try:
            scale, path = float(last), expanded(file)
        except ValueError:
            pass
    if not math.isfinite(scale):
        raise UsageError(f"{name} {text}: the scale must be a finite number, such as 0.5")
    if not path.is_file():
        raise UsageError(f"{name} {text}: there is no file {path}; give FILE or FILE:SCALE")
    return Lora(str(path.absolute()), scale)


def _check_no_value_is_missing(ref: str) -> None:
    _, at, last = ref.rpartition("@")
    name = last.lower().replace("-", "_")
    if at and _ALIASES.get(name, name) in _READERS:
        raise _wrong(ref, f"{last} has no value: write {last}=...")


def _labelled(variant: Variant, label: str | None) -> Variant:
    return replace(variant, label=label or _default_label(variant.ref or "", _settings(variant)))


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"in the variant {one_line(text, 120)}: {why}")


def _key(text: str, typed: str) -> str:
    name = typed.lower().replace("-", "_")
    name = _ALIASES.get(name, name)
    if name in _READERS:
        return name
    near = get_close_matches(name, (*_READERS, *_ALIASES), n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_READERS)}"
    raise _wrong(text, f"there is no key {typed!r}: {hint}")


def _whole(name: str, minimum: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= _MAX:
            raise UsageError(f"{name} {value!r}: give a whole number of {minimum} or more")
        return number

    return read


def _some(name: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not value.strip():
            raise UsageError(f"{name} is empty: give it a value, or leave it out")
        return value

    return read


def _technique(value: str) -> Technique:
    for technique in _TECHNIQUES:
        if value.lower().replace("_", "-") == technique:
            return technique
    near = get_close_matches(value.lower(), _TECHNIQUES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_TECHNIQUES)}"
    raise UsageError(f"technique {value!r}: {hint}")


def _preset(value: str) -> Preset:
    return Presets(Paths.find().presets).get(value)


# What each key's value is read by; in the order in which a variant is written.
_READERS: dict[str, Callable[[str], Any]] = {
    "preset": _preset,
    **{name: parameter.parse for name, parameter in BY_NAME.items()},
    "stop": _some("stop"),
    "template": _some("template"),
    "technique": _technique,
    "shots": _whole("shots", 0),
    # An empty one is no system message, where the config file has one.
    "system": str,
    "lora": parse_lora,
    "ctx": _whole("ctx", 0),
    "best_of": _whole("best_of", 1),
    "select": parse_selector,
    "draft": _some("draft"),
    "label": _some("label"),
}


def _settings(variant: Variant) -> list[Setting]:
    """Return the keys and values that were said, but for the label."""
    sampling = variant.sampling.to_dict()
    if variant.preset is not None:
        below = variant.preset.sampling.to_dict()
        sampling = {name: value for name, value in sampling.items() if below.get(name) != value}
    values: dict[str, Any] = {**sampling, "ctx": variant.context}
    values |= {name: getattr(variant, name) for name in _READERS if name not in values and hasattr(variant, name)}
    values["preset"] = variant.preset and variant.preset.name
    values["lora"] = [f"{adapter.path}:{_number(adapter.scale)}" for adapter in variant.lora]
    del values["label"]
    return [(name, text) for name in _READERS for text in _texts(values.get(name))]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    return [_number(value) if isinstance(value, float) else str(value)]


def _number(value: float) -> str:
    """Return the shortest text that is ``value`` again."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _joined(ref: str, settings: list[Setting]) -> str:
    said = ",".join(f"{name}={quoted(value)}" for name, value in settings)
    return f"{ref}@{said}" if said else ref


def _default_label(ref: str, settings: list[Setting]) -> str:
    """Return the variant as short as it can still be told from others: a file's name, and the ends of long values."""
    name = PureWindowsPath(ref).name.removesuffix(".gguf") if ref.lower().endswith(".gguf") else ref
    short = [(key, _file_name(value) if key == "lora" else one_line(value, _LABEL_VALUE)) for key, value in settings]
    return one_line(_joined(name, short), _LABEL)


def _file_name(path: str) -> str:
    return PureWindowsPath(path).name
