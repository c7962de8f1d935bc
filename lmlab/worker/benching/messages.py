"""What parent and child say to each other about speed: orders down, each answered by one report before the next.

MeasureBandwidth may come at any time; Open once, before every Run. The end of the connection is the end of the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.errors import LmlabError
from lmlab.worker.messages import Layout, LoadSpec

# Down


@dataclass(frozen=True, slots=True)
class MeasureBandwidth:
    """Read ``size`` bytes of main memory with ``threads`` threads (None is one a physical core), ``repeat`` times."""

    threads: int | None
    size: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Open:
    """Load a model. Of ``spec`` the path, context, GPU layers, threads, sequences, flash attention, KV types, LoRA adapters
    and ``ubatch`` count."""

    spec: LoadSpec


@dataclass(frozen=True, slots=True)
class Run:
    """With ``depth`` tokens in each of ``sequences`` sequences, read ``prompt`` more in each, or write ``decode`` more.

    One of ``prompt`` and ``decode`` is 0. The depth is brought about first, outside the time that is measured.
    """

    sequences: int = 1
    depth: int = 0
    prompt: int = 0
    decode: int = 0


Order: TypeAlias = MeasureBandwidth | Open | Run

# Up


@dataclass(frozen=True, slots=True)
class OpenProgress:
    """``fraction`` of the weights read so far, 0 to 1. The one report that is no answer."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes per second of each time."""

    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that is loaded. ``weights_read``: bytes of weights that writing one token reads; None where its header does
    not tell. ``expert_weights`` of them lie in experts, of which a token uses ``experts_used`` of ``experts``."""

    load_s: float
    context: int
    threads: int
    gpu_layers: int
    devices: tuple[str, ...]
    llama_cpp: str
    layout: Layout
    weights_read: int | None
    expert_weights: int
    experts: int
    experts_used: int


@dataclass(frozen=True, slots=True)
class Ran:
    """What was asked for took ``seconds``; bringing about the depth took ``filling_s``, for ``filled`` tokens."""

    seconds: float
    filled: int
    filling_s: float


@dataclass(frozen=True, slots=True)
class NotDone:
    """The order before could not be carried out."""

    error: LmlabError


Answer: TypeAlias = Bandwidth | Opened | Ran | NotDone
