"""What memory allows: every token that is written reads the weights it uses, and the KV cache, from main memory once.

An upper bound for decoding. It says nothing of prefill, which reads them once for many tokens.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lmlab import memory
from lmlab.backends import LoadSpec
from lmlab.lab.bench.amounts import Step
from lmlab.models.header import GgufHeader
from lmlab.models.hyperparameters import hyperparameters
from lmlab.models.kv_size import kv_shape
from lmlab.worker.benching.messages import Opened

_LEAST, _MOST = 1 << 28, 1 << 31
_TIMES_CACHE = 8


def array_size(root: Path = Path("/")) -> int:
    """Return how many bytes to measure the bandwidth with: many times the caches, and a little of the memory that is free."""
    wanted = min(_MOST, max(_LEAST, _TIMES_CACHE * _largest_cache(root)))
    return min(wanted, max(1 << 20, memory.available_memory() // 4))


def decode_bound(step: Step, header: GgufHeader, load: LoadSpec, opened: Opened, bandwidth: float) -> float | None:
    """Return the tokens per second that ``bandwidth`` bytes per second allow ``step`` to write; None where it is not known
    what must be read, as where layers lie on a GPU."""
    run = step.run
    if run is None or not run.decode or opened.gpu_layers or opened.weights_read is None or not bandwidth:
        return None
    kept = _kv_bytes(header, load, run.depth + run.decode // 2)
    if kept is None:
        return None
    weights = _weights(opened, run.sequences) + _adapters(load)
    return run.sequences * bandwidth / (weights + run.sequences * kept)


def _weights(opened: Opened, sequences: int) -> float:
    """Return the bytes of weights that a step reads; of experts, as many as so many tokens choose if they choose at random."""
    assert opened.weights_read is not None
    if not opened.experts:
        return opened.weights_read
    share = opened.experts_used / opened.experts
    others = opened.weights_read - opened.expert_weights * share
    return others + opened.expert_weights * (1 - (1 - share) ** sequences)


def _kv_bytes(header: GgufHeader, load: LoadSpec, depth: int) -> float | None:
    """Return the bytes that one sequence of ``depth`` tokens has read for its next; windows see no more than they are wide."""
    kept, shape = kv_shape(header), hyperparameters(header)
    if kept is None or kept.state is None:
        return None
    whole = kept.bytes_for(depth, load.key_type, load.value_type)
    if shape.sliding_window and shape.windowed_layers and shape.layers:
        seen = kept.bytes_for(min(depth, shape.sliding_window), load.key_type, load.value_type)
        share = shape.windowed_layers / shape.layers
        return whole * (1 - share) + seen * share + kept.state
    return whole + kept.state


def _adapters(load: LoadSpec) -> int:
    total = 0
    for adapter in load.lora:
        with suppress(OSError):
            total += os.path.getsize(adapter.path)
    return total


def _largest_cache(root: Path) -> int:
    """Return the bytes of the largest cache of a processor; 32 MiB where the system does not say."""
    sizes = []
    for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with suppress(OSError, ValueError):
            sizes.append(int(file.read_text(encoding="ascii").strip().removesuffix("K")) * 1024)
    return max(sizes, default=32 << 20)
