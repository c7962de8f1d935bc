"""What parent and child say to each other about llama.cpp itself: one Examine down; Build, Layouts and an end up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.errors import LmlabError
from lmlab.worker.messages import LoadSpec


@dataclass(frozen=True, slots=True)
class Examine:
    """Say what llama.cpp was built for and, unless ``spec`` is None, how it would lay that model out."""

    spec: LoadSpec | None


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """``kind``: ``cpu``, ``gpu``, ``integrated``, ``accelerator`` or ``other``. Bytes of its own memory, 0 where unknown."""

    name: str
    description: str
    kind: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Build:
    """``binding`` is llama-cpp-python's version, which fixes the llama.cpp inside it; ``ggml`` that of the tensor library.

    ``features`` are the processor's that it was compiled for, and other switches of the build, by llama.cpp's names.
    ``devices`` None: the build does not tell. ``threads`` are as many as it takes when nobody names a number.
    """

    binding: str
    ggml: str | None
    folder: str
    features: tuple[str, ...]
    gpu_offload: bool
    devices: tuple[ComputeDevice, ...] | None
    threads: int


@dataclass(frozen=True, slots=True)
class LaidOut:
    """How the model would be loaded now. ``weights``, ``kv`` and ``compute`` in bytes; ``available`` is the main memory there is.

    ``sequences`` are decoded at once, ``outputs`` are the rows of logits a step, ``ubatch`` the tokens computed at once.
    """

    context: int
    context_trained: int
    sequences: int
    outputs: int
    ubatch: int
    threads: int
    flash_attention: bool
    mapped: bool
    weights: int
    kv: int
    compute: int
    available: int


@dataclass(frozen=True, slots=True)
class NotLaidOut:
    error: LmlabError


@dataclass(frozen=True, slots=True)
class Examined:
    """The end."""


ExamineReport: TypeAlias = Build | LaidOut | NotLaidOut | Examined
