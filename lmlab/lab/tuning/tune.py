"""Tuning a model on this machine: what is measured, for how long, what may be varied, and what came of it.

Knows nothing of screens, and keeps nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from lmlab.backends import LoadSpec
from lmlab.lab.bench import Speed, measure_speed
from lmlab.lab.tuning.dimensions import Costly, Workload, dimensions
from lmlab.lab.tuning.gauge import Gauge
from lmlab.lab.tuning.machine import logical_processors
from lmlab.lab.tuning.meter import Cancelled, Meter
from lmlab.lab.tuning.rule import ROUNDS, Objective
from lmlab.lab.tuning.search import Dimension, Found, Search, Step, expected
from lmlab.lab.tuning.settings import Settings, found_in

_FEWEST = 3 * ROUNDS
"""Measurements that time is left for, even where only one thing is still to be tried."""


class MeasureSpeed(Protocol):
    """``lmlab.lab.bench.measure_speed``."""

    def __call__(
        self,
        spec: LoadSpec,
        *,
        prompt: int,
        decode: int,
        depth: int,
        repeat: int,
        log_folder: Path,
        cancelled: Callable[[], bool],
    ) -> Speed | None: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tuned. ``base`` is how the model is loaded without; what it says stays. ``kv_said``: so do its KV types.

    ``weights`` are files of the same model with other weights, by their type; ``quantization`` is the type it has.
    ``context`` is how many tokens the model can hold. ``seconds`` is the time for all of it.
    """

    base: LoadSpec
    objective: Objective
    seconds: float
    context: int
    kv_said: bool = False
    allowed: frozenset[Costly] = frozenset()
    weights: Mapping[str, Path] | None = None
    quantization: str = ""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What came of it: ``settings`` are what to keep, for the file at ``found.spec.path``.

    ``weights`` is what came of trying other weights, before all else; None where none were to be tried. ``found`` began
    with those that won, so its gain is that of the settings alone.
    """

    found: Found
    weights: Found | None
    settings: Settings
    workload: Workload
    measurements: int
    seconds: float

    @property
    def steps(self) -> tuple[Step, ...]:
        return (() if self.weights is None else self.weights.steps) + self.found.steps

    @property
    def won(self) -> bool:
        return self.found.gain is not None or (self.weights is not None and self.weights.gain is not None)


def tune(
    wanted: Wanted,
    *,
    log_folder: Path,
    listener: Callable[[Step], None],
    watch: Callable[[str, float], None],
    cancelled: Callable[[], bool],
    measure: MeasureSpeed = measure_speed,
    physical: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuning | None:
    """Return what was found; None once ``cancelled``. ``listener`` gets every step, ``watch`` what is being measured and
    the share of the time that is over. Raises LmlabError when the model cannot be measured as it is.
    """

    def speed(spec: LoadSpec, size: Workload) -> Speed:
        made = measure(
            spec,
            prompt=size.prompt,
            decode=size.decode,
            depth=size.depth,
            repeat=size.repeat,
            log_folder=log_folder,
            cancelled=cancelled,
        )
        if made is None or cancelled():
            raise Cancelled
        return made

    begun = clock()
    base = wanted.base
    try:
        watch("how long a measurement takes", 0.0)
        gauge = Gauge(speed, base, objective=wanted.objective, context=wanted.context)
        meter = Meter(gauge.rates, seconds=wanted.seconds, watch=watch, clock=clock, begun=begun)

        def prepare(measurements: int) -> None:
            before = gauge.size
            each = gauge.fit(meter.left / max(measurements, _FEWEST), meter.took)
            if gauge.size != before:
                meter.expect(each)

        def search(ground: LoadSpec, varied: Sequence[Dimension], later: int) -> Found:
            """``later``: measurements that are to follow."""
            once = Search(
                meter,
                objective=wanted.objective,
                listener=listener,
                prepare=lambda measurements: prepare(measurements + later),
            )
            return once.run(ground, varied)

        others = _dimensions(wanted, lambda: gauge.size, physical or _cores())
        weights = search(base, [_weights(wanted)], expected(base, others)) if wanted.weights else None
        ground = base if weights is None else weights.spec
        found = search(ground, others, 0)
    except Cancelled:
        return None
    return Tuning(found, weights, found_in(found.spec, ground), gauge.size, meter.made, clock() - begun)


def _dimensions(wanted: Wanted, size: Callable[[], Workload], physical: int) -> list[Dimension]:
    return dimensions(
        wanted.base,
        logical=logical_processors(),
        physical=physical,
        size=size,
        objective=wanted.objective,
        allowed=wanted.allowed,
        kv_said=wanted.kv_said,
    )


def _weights(wanted: Wanted) -> Dimension:
    files = dict(wanted.weights or {})
    return Dimension(
        "weights",
        wanted.quantization,
        lambda spec: {kind: replace(spec, path=str(path)) for kind, path in files.items()},
    )


def _cores() -> int:
    # Imported here: it brings in what opens workers, of which the rest has no need.
    from lmlab.lab.compare.workers import cores

    return cores()
