"""What llama.cpp says while it rewrites a model, which is all one hears of it: how far it is, and what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

_TENSOR = re.compile(r"^\[ *(\d+)/ *(\d+)\] .* size = +([\d.]+) MiB")
_PLANNED = re.compile(r"quant size +=+ +([\d.]+) MiB")
_FALLBACKS = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback")
_UNWEIGHTED = "did not find weights for"
_NEEDS_IMPORTANCE = "will require an imatrix"
_FAILED = re.compile(r"failed to quantize: (.*)")
_MIB = 1 << 20
_LEAST_MIB = 0.005
"""Sizes come rounded; a tensor that seems to have none still takes a moment."""


class QuantizeLog:
    """Of a first run that only plans, and of the one that writes: ``begin_writing`` lies between them.

    ``size`` in bytes, of all weights. ``failure`` is llama.cpp's own reason. ``progress`` gets the tensors that are done,
    how many there are, and the share of the bytes read; on whatever thread llama.cpp logs.
    """

    def __init__(self, progress: Callable[[int, int, float], None]) -> None:
        self._progress = progress
        self._writing = False
        self._planned_mib = 0.0
        self._done_mib = 0.0
        self.tensors = 0
        self.size = 0
        self.fallbacks = 0
        self.unweighted = 0
        self.needs_importance = False
        self.failure: str | None = None

    def begin_writing(self) -> None:
        self._writing = True
        self.fallbacks = self.unweighted = 0

    def take(self, _level: str, line: str) -> None:
        if found := _TENSOR.search(line):
            self._tensor(int(found.group(1)), int(found.group(2)), max(_LEAST_MIB, float(found.group(3))))
        elif found := _PLANNED.search(line):
            self.size = round(float(found.group(1)) * _MIB)
        elif found := _FALLBACKS.search(line):
            self.fallbacks = int(found.group(1))
        elif found := _FAILED.search(line):
            self.failure = found.group(1).strip()
        elif _UNWEIGHTED in line:
            self.unweighted += 1
        elif _NEEDS_IMPORTANCE in line:
            self.needs_importance = True

    def _tensor(self, number: int, tensors: int, mib: float) -> None:
        self.tensors = tensors
        if not self._writing:
            self._planned_mib += mib
            return
        self._done_mib += mib
        self._progress(number, tensors, min(1.0, self._done_mib / self._planned_mib))
