"""What the panel shows, as plain values. Knows nothing of widgets or of how a row is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lmlab.lab.best_of import DEFAULT_SELECTOR
from lmlab.sampling import SamplingParams, ineffective
from lmlab.tui.status import label

Origin = Literal["set", "template", "model", "default"]


@dataclass(frozen=True, slots=True)
class SamplingView:
    """What was ``asked`` for, what the next token is drawn with, what is ``in_force``, and where values come from.

    ``coming`` and ``in_force`` differ between a change during a reply and the token at which it applies. ``best_of``
    replies are drawn and ``select`` chooses; ``at_once`` is how many the model was loaded to draw at once.
    ``preset`` is the one of ``presets`` that draws so, if one does.
    """

    asked: SamplingParams = field(default_factory=SamplingParams)
    coming: SamplingParams = field(default_factory=SamplingParams)
    in_force: SamplingParams = field(default_factory=SamplingParams)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    best_of: int = 1
    select: str = str(DEFAULT_SELECTOR)
    at_once: int | None = None
    preset: str | None = None
    presets: tuple[str, ...] = ()

    def reasons(self) -> dict[str, str]:
        """Return what has no effect, by reason: ``{"no effect at temperature 0": "top-k, top-p"}``."""
        grouped: dict[str, str] = {}
        for name, reason in ineffective(self.coming).items():
            grouped[reason] = f"{grouped[reason]}, {label(name)}" if reason in grouped else label(name)
        return grouped


@dataclass(frozen=True, slots=True)
class Row:
    """``waiting``: applies at the next token. ``idle``: has no effect. ``fraction``: how full its bar is, if it has one."""

    name: str
    label: str
    value: str
    fraction: float | None = None
    origin: Origin = "default"
    waiting: bool = False
    idle: bool = False
