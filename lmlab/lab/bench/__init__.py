"""How fast a model is on this machine: measured in a worker process, repeated, and said with the spread. Prints nothing."""

from lmlab.lab.bench.speed import Speed, measure_speed
from lmlab.lab.bench.spread import Spread, spread_of

__all__ = ["Speed", "Spread", "measure_speed", "spread_of"]
