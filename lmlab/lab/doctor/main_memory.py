"""Main memory: what there is of it, what a container leaves of it, and swap."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import psutil

from lmlab import memory
from lmlab.lab.doctor.finding import Finding
from lmlab.lab.doctor.probe import Probe
from lmlab.models import size_text

SECTION = "memory"
LITTLE = 1_000_000_000
"""Bytes: less is not enough for most models."""


def check(probe: Probe, available: Callable[[], int] | None = None) -> Iterator[Finding]:
    total = psutil.virtual_memory().total
    free = memory.available_memory(probe.root) if available is None else available()
    limit = memory.memory_limit(probe.root)
    text = f"{size_text(free)} free of {size_text(total)}"
    if limit is not None and limit < total:
        text += f", and this container may take {size_text(limit)}"
    values = {"total": total, "available": free, "limit": limit}
    if free < LITTLE:
        advice = "close other programs, or use a small model with a short context: -c 2048 --kv-type q8_0"
        yield Finding(SECTION, "main memory", "warning", text, advice, values)
    else:
        yield Finding(SECTION, "main memory", "ok", text, values=values)
    with warnings.catch_warnings():
        # Some containers do not tell how much was swapped in and out, which is not asked.
        warnings.simplefilter("ignore", RuntimeWarning)
        swap = psutil.swap_memory()
    swapped = f"{size_text(swap.used)} used of {size_text(swap.total)}" if swap.total else "none"
    yield Finding(SECTION, "swap", "ok", swapped, values={"total": swap.total, "used": swap.used})
