"""What parent and child say to each other about a divergence: one Measure down; ModelLoading, Measuring and an end up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.errors import LmlabError
from lmlab.worker.messages import LoadSpec


@dataclass(frozen=True, slots=True)
class Measure:
    """Run ``text`` through both models; ``first`` is the reference.

    Of each LoadSpec the path, GPU layers, threads, LoRA adapters, KV types and flash attention count; the context is that
    of a window, and nothing is drawn.
    """

    first: LoadSpec
    second: LoadSpec
    text: str


@dataclass(frozen=True, slots=True)
class ModelLoading:
    """``fraction`` of the weights of the model at ``path`` read so far, 0 to 1."""

    path: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, or what follows from one, and its standard error: that of windows, not of positions, which are not
    independent. None when there are too few windows to tell."""

    value: float
    error: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known after ``windows`` of the ``planned``, of ``window`` tokens each.

    Of ``tokens`` in the text ``left_over`` ones at its end fill no window. The second half of each window is scored, the
    first is its context: ``scored`` positions so far. KL divergences, of the second model from the first, are in nats.
    ``agreement`` is the share of positions with the same most likely token. ``perplexity_ratio`` is the second's to the first's.
    ``probability_rms`` is the root mean square of how much the probability of the text's own token changed, 0 to 1.
    """

    windows: int
    planned: int
    window: int
    tokens: int
    left_over: int
    scored: int
    kl: Estimate
    kl_median: float
    kl_p99: float
    kl_max: float
    agreement: Estimate
    perplexity_first: Estimate
    perplexity_second: Estimate
    perplexity_ratio: Estimate
    probability_rms: Estimate


@dataclass(frozen=True, slots=True)
class Measuring:
    figures: Figures


@dataclass(frozen=True, slots=True)
class Measured:
    """The end."""

    figures: Figures


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """The end, when it could not be done."""

    error: LmlabError


MeasureReport: TypeAlias = ModelLoading | Measuring | Measured | NotMeasured
