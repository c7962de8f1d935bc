"""The sampling parameters as rows: what each shows, and what a nudge or a point on its bar means. No widgets here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lmlab.sampling import BY_NAME, PARAMETERS, Parameter, SamplingParams, ineffective
from lmlab.tui.status import label, value_text

Origin = Literal["set", "model", "default"]

ROWS: tuple[str, ...] = (*(parameter.name for parameter in PARAMETERS), "stop")

# What a bar spans where the range itself is too wide to aim at.
_SPANS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (1, 2),
}
# Where a nudge starts from a parameter that has no value at all.
_FIRST = {"max_tokens": 256}


@dataclass(frozen=True, slots=True)
class SamplingView:
    """What was ``asked`` for, what the next token is drawn with, what is ``in_force``, and where values come from.

    ``coming`` and ``in_force`` differ between a change during a reply and the token at which it applies.
    """

    asked: SamplingParams = field(default_factory=SamplingParams)
    coming: SamplingParams = field(default_factory=SamplingParams)
    in_force: SamplingParams = field(default_factory=SamplingParams)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def reasons(self) -> dict[str, str]:
        """Return the parameters without effect, by reason: ``{"no effect at temperature 0": "top-k, top-p"}``."""
        grouped: dict[str, str] = {}
        for name, reason in ineffective(self.coming).items():
            grouped[reason] = f"{grouped[reason]}, {label(name)}" if reason in grouped else label(name)
        return grouped


@dataclass(frozen=True, slots=True)
class Row:
    """``waiting``: applies at the next token. ``idle``: has no effect."""

    name: str
    label: str
    value: str
    fraction: float | None
    origin: Origin
    waiting: bool
    idle: bool


def row(view: SamplingView, name: str) -> Row:
    """Return what the row of ``name`` shows."""
    coming, in_force = getattr(view.coming, name), getattr(view.in_force, name)
    random = name == "seed" and coming in (None, -1)
    return Row(
        name=name,
        label=label(name),
        value=_random_seed(in_force) if random else _value(name, coming),
        fraction=fraction(name, coming),
        origin=view.origins.get(name, "default"),
        waiting=coming != in_force and not random,
        idle=name in ineffective(view.coming),
    )


def _random_seed(drawn: int | None) -> str:
    return "random" if drawn in (None, -1) else f"random {drawn}"


def _value(name: str, value: object) -> str:
    return "until it ends" if name == "max_tokens" and value is None else value_text(name, value)


def fraction(name: str, value: float | None) -> float | None:
    """Return how full the bar of ``name`` is; None when it has none."""
    if name not in _SPANS or value is None:
        return None
    low, high = _SPANS[name]
    return min(1.0, max(0.0, (value - low) / (high - low)))


def value_at(name: str, share: float) -> float | None:
    """Return the value where ``share`` of the bar is full, on a whole step; None when it has no bar."""
    if name not in _SPANS:
        return None
    low, high = _SPANS[name]
    parameter = BY_NAME[name]
    steps = round((low + (high - low) * min(1.0, max(0.0, share))) / parameter.step)
    return _within(parameter, steps * parameter.step)


def nudged(view: SamplingView, name: str, steps: int) -> float | None:
    """Return the value ``steps`` away from the one in force, inside the range; None for what cannot be nudged."""
    if name not in BY_NAME:
        return None
    parameter = BY_NAME[name]
    value = getattr(view.asked, name)
    if value is None:
        value = getattr(view.coming, name)
    if name == "seed" and value in (None, -1) and view.in_force.seed is not None:
        # The first nudge keeps the seed that was drawn.
        return float(view.in_force.seed)
    if value is None:
        return float(_FIRST.get(name, 0))
    return _within(parameter, value + steps * parameter.step)


def _within(parameter: Parameter, value: float) -> float:
    return round(min(parameter.maximum, max(parameter.minimum, value)), 6)
