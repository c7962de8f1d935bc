"""How much is measured at a time: as much as the time allows, and more once there turns out to be time to spare."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.lab.bench import Speed
from lmlab.lab.tuning.dimensions import PROBE, Workload, workload
from lmlab.lab.tuning.rule import Objective, Rates
from lmlab.worker.messages import LoadSpec


class Gauge:
    """``measure`` loads a model and does a workload; ``base`` is measured at once, to see how fast the machine is.

    ``context`` is how many tokens may be held.
    """

    def __init__(
        self, measure: Callable[[LoadSpec, Workload], Speed], base: LoadSpec, *, objective: Objective, context: int
    ) -> None:
        self._measure = measure
        self._objective: Objective = objective
        self._context = context
        self.size = PROBE
        self.rates(base)

    def rates(self, spec: LoadSpec) -> Rates:
        """Measure ``spec``. Raises what measuring raises."""
        speed = self._measure(spec, self.size)
        self._latest, self._load_s = Rates(speed.prefill.median, speed.decode.median), speed.load_s
        return self._latest

    def fit(self, seconds: float, took: float | None) -> float:
        """Have a measurement last ``seconds`` at most, but no shorter than it does now, and return how long it should.

        ``took``: how long one has taken so far, with all that comes besides; None where nobody knows.
        """
        factor = 1.0 if took is None else took / self.size.seconds(self._latest, self._load_s)
        grown = workload(
            self._latest, self._load_s, objective=self._objective, seconds=seconds / factor, context=self._context
        )
        if self.size is PROBE or grown.depth > self.size.depth:
            self.size = grown
        return factor * self.size.seconds(self._latest, self._load_s)
