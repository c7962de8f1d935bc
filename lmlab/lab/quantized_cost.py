"""What another quantization of a model costs and what it gains: how far its predictions move, and how fast both are."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from lmlab.lab.bench import Speed, measure_speed, spread_of
from lmlab.lab.divergence import Divergence, measure
from lmlab.worker.divergence.messages import Measuring, ModelLoading
from lmlab.worker.messages import LoadSpec

Stage: TypeAlias = Callable[[str, float], None]
"""Gets what is being done, and the share of it that is, 0 to 1."""

_COMPARING, _TIMING = "comparing predictions", "measuring speeds"
_TURNS = (0, 1, 1, 0)
"""Which model's speed is measured when: what else the machine does, and how warm it gets, then counts for both alike."""
_REPEAT = 2


@dataclass(frozen=True, slots=True)
class QuantizedCost:
    """What was measured before it ended or was cancelled. ``divergence`` is that of the new model from the old one."""

    text: str
    divergence: Divergence | None
    before: Speed | None
    after: Speed | None

    @property
    def complete(self) -> bool:
        measured = self.divergence is not None and self.divergence.complete
        # The turn of the old model is the last.
        return measured and self.before is not None and len(self.before.decode.runs) == _REPEAT * _TURNS.count(0)

    def to_dict(self) -> dict[str, Any]:
        divergence = self.divergence
        return {
            "text": self.text,
            "complete": self.complete,
            "figures": None if divergence is None else _finite(asdict(divergence.figures)),
            "agreement": None if divergence is None or divergence.agreement is None else asdict(divergence.agreement),
            "speed": {
                "before": None if self.before is None else asdict(self.before),
                "after": None if self.after is None else asdict(self.after),
            },
        }


def measure_cost(
    source: Path,
    quantized: Path,
    text: str,
    name: str,
    *,
    threads: int | None,
    log_folder: Path,
    stage: Stage,
    cancelled: Callable[[], bool],
) -> QuantizedCost:
    """Measure both models over ``text``, which is called ``name``, then how fast each reads and writes.

    Once ``cancelled``, what was measured so far comes back. Raises UsageError for a text that is too short,
    ModelLoadError when a model cannot be loaded or both do not fit, EngineStopped when a process ends.
    """

    def heard(report: ModelLoading | Measuring) -> None:
        if isinstance(report, Measuring):
            stage(_COMPARING, report.figures.windows / report.figures.planned)

    specs = [LoadSpec(str(path), threads=threads) for path in (source, quantized)]
    stage(_COMPARING, 0)
    divergence = measure(specs[0], specs[1], text, heard, log_folder=log_folder, cancelled=cancelled)
    speeds: tuple[list[Speed], list[Speed]] = ([], [])
    for turn, which in enumerate(_TURNS):

        def advanced(fraction: float, turn: int = turn) -> None:
            stage(_TIMING, (turn + fraction) / len(_TURNS))

        if cancelled():
            break
        advanced(0)
        found = measure_speed(
            specs[which], repeat=_REPEAT, log_folder=log_folder, cancelled=cancelled, progress=advanced
        )
        if found is not None:
            speeds[which].append(found)
    return QuantizedCost(name, divergence, *map(_together, speeds))


def _together(turns: list[Speed]) -> Speed | None:
    if not turns:
        return None
    prefill, decode = (
        spread_of([run for turn in turns for run in getattr(turn, name).runs]) for name in ("prefill", "decode")
    )
    return replace(turns[0], prefill=prefill, decode=decode)


def _finite(value: Any) -> Any:
    """Return ``value`` as JSON can have it: an infinite perplexity is null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
