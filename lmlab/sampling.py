"""Sampling parameters: what they are called, what they may be, and what they are when nobody says.

Knows nothing of models or samplers; the engine turns these values into a llama.cpp sampler chain.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from lmlab.errors import SamplingError


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn. ``None`` is *unset*: ``merge`` fills it from the next layer.

    Order of the stages is llama.cpp's: penalties, top-k, top-p, min-p, temperature, draw. ``temperature`` 0 is greedy.
    ``seed`` is an unsigned 32-bit integer, 0 included; unset or -1 means one is drawn and reported.
    ``max_tokens`` unset means until the model ends or the context is full.
    ``stop`` texts end the reply and are not part of it.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for parameter in PARAMETERS:
            value = getattr(self, parameter.name)
            if value is not None:
                object.__setattr__(self, parameter.name, parameter.check(value))
        if self.stop is not None:
            object.__setattr__(self, "stop", _stop_texts(self.stop))

    def merge(self, below: SamplingParams) -> SamplingParams:
        """Return these parameters with every unset one taken from ``below``."""
        return SamplingParams(
            **{
                f.name: mine if (mine := getattr(self, f.name)) is not None else getattr(below, f.name)
                for f in fields(self)
            }
        )

    def with_value(self, name: str, value: Any) -> SamplingParams:
        """Return a copy with one parameter changed; ``None`` unsets it. Raises SamplingError when out of range."""
        if name not in _FIELDS:
            raise SamplingError(f"no sampling parameter is called {name!r}: there are {', '.join(sorted(_FIELDS))}")
        return replace(self, **{name: value})

    def changes(self, later: SamplingParams) -> tuple[tuple[str, Any, Any], ...]:
        """Return ``(name, value here, value in later)`` for each parameter that differs, in field order."""
        pairs = ((f.name, getattr(self, f.name), getattr(later, f.name)) for f in fields(self))
        return tuple((name, old, new) for name, old, new in pairs if old != new)

    def to_dict(self) -> dict[str, Any]:
        """Return the set parameters as plain JSON values."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SamplingParams:
        """Build from JSON values; an unknown key is an error, never dropped."""
        unknown = sorted(set(values) - _FIELDS)
        if unknown:
            raise SamplingError(f"unknown sampling parameter {unknown[0]!r}: there are {', '.join(sorted(_FIELDS))}")
        return cls(**values)


_FIELDS = {f.name for f in fields(SamplingParams)}


def _stop_texts(value: Any) -> tuple[str, ...]:
    # A text is a sequence of texts too: taken for one, each of its characters would end the reply.
    if not isinstance(value, (list, tuple)):
        raise SamplingError(f"stop {value!r}: give a list of texts")
    if not all(isinstance(text, str) and text for text in value):
        raise SamplingError("stop: give a text that is not empty")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number a person can turn: its name, range, step for a nudge, value that switches it off, and one-line help."""

    name: str
    label: str
    kind: Literal["float", "int"]
    minimum: float
    maximum: float
    step: float
    off: float | None
    help: str

    def check(self, value: Any) -> int | float:
        """Return ``value`` as this parameter's type, or raise SamplingError that names the range."""
        wrong = SamplingError(f"{self.label} {value!r}: give {self.describe_range()}")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong
        # NaN is in no range, and infinity is beyond every one.
        if not self.minimum <= value <= self.maximum:
            raise wrong
        if self.kind == "int":
            if value != int(value):
                raise wrong
            return int(value)
        return float(value)

    def parse(self, text: str) -> int | float:
        """Return the value that ``text`` spells, or raise SamplingError that names the range."""
        try:
            value = int(text) if self.kind == "int" else float(text)
        except ValueError:
            raise SamplingError(f"{self.label} {text!r}: give {self.describe_range()}") from None
        return self.check(value)

    def describe_range(self) -> str:
        noun = "a whole number" if self.kind == "int" else "a number"
        if self.maximum == _ANY:
            return f"{noun} of {self.minimum:g} or more"
        return f"{noun} from {self.minimum:.10g} to {self.maximum:.10g}"

    def format(self, value: float | None) -> str:
        if value is None:
            return "unset"
        return f"{value:.2f}" if self.kind == "float" else str(int(value))


_ANY = 2**31 - 1

# Ranges: temperature and penalties beyond these only overflow the softmax; top-p and min-p are probabilities.
PARAMETERS: tuple[Parameter, ...] = (
    Parameter(
        "temperature",
        "temperature",
        "float",
        0,
        100,
        0.05,
        1,
        "Divides the logits before the draw. 0 is greedy; higher is more varied.",
    ),
    Parameter("top_k", "top-k", "int", 0, _ANY, 5, 0, "Keep only the k likeliest tokens. 0 is off."),
    Parameter(
        "top_p",
        "top-p",
        "float",
        0,
        1,
        0.05,
        1,
        "Keep the likeliest tokens that together reach this probability. 1 is off.",
    ),
    Parameter(
        "min_p", "min-p", "float", 0, 1, 0.01, 0, "Drop tokens less likely than this share of the likeliest. 0 is off."
    ),
    Parameter(
        "repeat_penalty",
        "repeat penalty",
        "float",
        0.01,
        100,
        0.05,
        1,
        "Divide the logits of recent tokens by this. 1 is off.",
    ),
    Parameter("repeat_last_n", "repeat window", "int", 0, _ANY, 16, 0, "How many recent tokens the penalties look at."),
    Parameter(
        "presence_penalty",
        "presence penalty",
        "float",
        -100,
        100,
        0.1,
        0,
        "Subtract this from the logit of every recent token. 0 is off.",
    ),
    Parameter(
        "frequency_penalty",
        "frequency penalty",
        "float",
        -100,
        100,
        0.1,
        0,
        "Subtract this from a recent token's logit once per occurrence. 0 is off.",
    ),
    Parameter(
        "seed",
        "seed",
        "int",
        -1,
        2**32 - 2,
        1,
        -1,
        "Start of the random numbers: the same seed draws the same tokens. -1 is a new one each time.",
    ),
    Parameter("max_tokens", "max tokens", "int", 1, _ANY, 16, None, "End the reply after this many tokens."),
)
BY_NAME: dict[str, Parameter] = {parameter.name: parameter for parameter in PARAMETERS}

# llama.cpp's own defaults (common/common.h, common_params_sampling).
DEFAULTS = SamplingParams(
    temperature=0.8,
    top_k=40,
    top_p=0.95,
    min_p=0.05,
    repeat_penalty=1.0,
    repeat_last_n=64,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    stop=(),
)

_GGUF_KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
    "repeat_last_n": "general.sampling.penalty_last_n",
}


def recommended(metadata: Callable[[str], object]) -> SamplingParams:
    """Return the sampling that a GGUF recommends; ``metadata`` gives the value of a key, or None.

    Keys are llama.cpp's ``general.sampling.*``. A value out of range recommends nothing.
    """
    values: dict[str, Any] = {}
    for name, key in _GGUF_KEYS.items():
        value = metadata(key)
        if value is not None:
            with contextlib.suppress(SamplingError):
                values[name] = BY_NAME[name].parse(str(value))
    return SamplingParams(**values)


def candidate_seed(seed: int, candidate: int) -> int:
    """Return the seed of one of a request's candidates: the request's own for candidate 0, a hash of both for the others.

    It does not depend on how many candidates there are, and a request with a neighbouring seed shares none of them.
    """
    if candidate == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/{candidate}".encode(), digest_size=8).digest()
    # Below 2**32 - 1, which llama.cpp takes for "any seed".
    return int.from_bytes(digest, "little") % (2**32 - 1)


def ineffective(params: SamplingParams) -> dict[str, str]:
    """Return, for each parameter of resolved ``params`` that cannot change the draw, the reason in a few words."""
    reasons: dict[str, str] = {}
    if params.temperature == 0:
        for name in ("top_k", "top_p", "min_p", "seed"):
            reasons[name] = "no effect at temperature 0"
    if params.repeat_penalty == 1 and not params.presence_penalty and not params.frequency_penalty:
        reasons["repeat_last_n"] = "no penalty is on"
    if params.repeat_last_n == 0:
        for name in ("repeat_penalty", "presence_penalty", "frequency_penalty"):
            reasons[name] = "the repeat window is 0"
    return reasons
