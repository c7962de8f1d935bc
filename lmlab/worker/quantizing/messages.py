"""What parent and child say to each other about rewriting a model: one Quantize down; Planned, Quantizing and an end up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lmlab.errors import LmlabError


@dataclass(frozen=True, slots=True)
class Quantize:
    """Write the model at ``source``, an absolute path, the first of its parts, to the file ``name`` in ``folder``.

    ``file_type``, ``token_embedding`` and ``output`` are numbers, ``label`` is the first one's name, for messages.
    ``metadata``: about the bytes of a file that are no weights. ``threads`` None is one a physical core.
    """

    source: str
    folder: str
    name: str
    file_type: int
    label: str
    metadata: int
    threads: int | None = None
    requantize: bool = False
    leave_output: bool = False
    pure: bool = False
    token_embedding: int | None = None
    output: int | None = None
    importance: str | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """``size``: about the bytes of the file that will be written. Nothing is written yet."""

    size: int


@dataclass(frozen=True, slots=True)
class Quantizing:
    """``done`` of ``tensors`` are written, which were ``fraction`` of the bytes to read, 0 to 1."""

    done: int
    tensors: int
    fraction: float


@dataclass(frozen=True, slots=True)
class Written:
    """The end. ``fallbacks``: tensors whose rows are no whole blocks of the type wanted, which got a larger one.
    ``unweighted``: tensors that the importance matrix has nothing on."""

    tensors: int
    fallbacks: int
    unweighted: int


@dataclass(frozen=True, slots=True)
class NotWritten:
    """The end, when it could not be done."""

    error: LmlabError


QuantizeReport: TypeAlias = Planned | Quantizing | Written | NotWritten
