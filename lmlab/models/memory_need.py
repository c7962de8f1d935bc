"""Whether a model fits into memory, as the worker would reckon from the same header. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.memory import OWN, STEP, ContextShape, available_memory, estimate
from lmlab.models.header import GgufHeader
from lmlab.models.hyperparameters import vocabulary
from lmlab.models.kv_size import kv_shape
from lmlab.worker.messages import DEFAULT_CONTEXT, LoadSpec

__all__ = ["Fit", "MemoryNeeds", "available_memory", "memory_needs"]

Fit: TypeAlias = Literal["yes", "short", "no"]
"""``short``: with a shorter context than the usual one."""

_UBATCH = 512
_MOST_LAYERS = 1 << 16
"""More is damage, and would be reckoned layer by layer."""


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Bytes of main memory, all told, with ``context`` tokens, the usual number, and with as few as can be."""

    context: int
    usual: int
    least: int

    def fit(self, available: int) -> Fit:
        if self.usual <= available:
            return "yes"
        return "short" if self.least <= available else "no"


def memory_needs(header: GgufHeader) -> MemoryNeeds:
    """Return what loading the model takes with nothing asked for."""
    context = min(header.context_length or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    return MemoryNeeds(context, _need(header, context), _need(header, min(context, STEP)))


def _need(header: GgufHeader, context: int) -> int:
    sequences = LoadSpec(path="").sequences
    shape = ContextShape(sequences, _UBATCH, flash_attention=True, key_type="f16", value_type="f16")
    numbers: dict[str, int | tuple[int, ...]] = {
        key: value for key, value in header.metadata.items() if isinstance(value, int)
    }
    numbers |= {
        key: whole for key, values in header.arrays.items() if (whole := tuple(v for v in values if isinstance(v, int)))
    }
    weights = {"": header.size}
    sane = (header.block_count or 0) <= _MOST_LAYERS
    tokens = vocabulary(header) or 0
    need = estimate(header.architecture, numbers, weights, tokens, context, shape, offloaded=0) if sane else None
    kept = kv_shape(header)
    kv = 0 if kept is None else kept.bytes_for(context, "f16") + sequences * (kept.state or 0)
    if need is None:
        return header.size + kv + OWN
    return need.weights + (kv if kept is not None else need.kv) + need.compute + OWN
