"""What came of a batch, counted. Knows nothing of how it is shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from lmlab.lab.statistics import wilson


@dataclass(slots=True)
class Tally:
    """Counts of one variant. ``skipped`` rows were done by an earlier run; ``left_out`` gave no training row.

    ``checked`` and ``correct`` count skipped rows too, ``no_answer`` those of this run alone. ``saved`` candidates were
    not needed to the end. Of ``unpassed`` rows no candidate passed what the selector asks.
    """

    rows: int = 0
    failed: int = 0
    skipped: int = 0
    left_out: int = 0
    checked: int = 0
    correct: int = 0
    no_answer: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    candidates: int = 0
    saved: int = 0
    unpassed: int = 0

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        if self.checked:
            low, high = wilson(self.correct, self.checked)
            values["accuracy"] = self.correct / self.checked
            values["accuracy_low"], values["accuracy_high"] = low, high
        return values


@dataclass(slots=True)
class Summary:
    """The tallies by variant. ``interrupted``: a person stopped it before the end of the input.

    ``position``: bytes of the input read so far. ``answered_at``: when the last row was written, by ``perf_counter``.
    ``first_failure`` and ``first_unpassed`` say what was wrong with the first such row.
    """

    variants: dict[str, Tally] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0.0
    position: int = 0
    answered_at: float = 0.0
    first_failure: str | None = None
    first_unpassed: str | None = None

    def tally(self, variant: str) -> Tally:
        return self.variants.setdefault(variant, Tally())

    @property
    def total(self) -> Tally:
        total = Tally()
        for tally in self.variants.values():
            for each in fields(Tally):
                setattr(total, each.name, getattr(total, each.name) + getattr(tally, each.name))
        return total

    def to_dict(self) -> dict[str, Any]:
        total = self.total
        rate = 1 / self.seconds if self.seconds > 0 else 0.0
        return {
            **total.to_dict(),
            "seconds": round(self.seconds, 3),
            "rows_per_s": total.rows * rate,
            "tokens_per_s": total.completion_tokens * rate,
            "interrupted": self.interrupted,
            "first_failure": self.first_failure,
            "first_unpassed": self.first_unpassed,
            "variants": {label: tally.to_dict() for label, tally in self.variants.items()},
        }
