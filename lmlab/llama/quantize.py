"""llama.cpp's rewriting of a model file with weights of another type: one call that lasts, and only the log says how far it is.

It ends the process on some inputs, and nothing stops it but the end of the process. Knows no names of types, only numbers.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from lmlab.errors import UsageError
from lmlab.llama.library import ggml_base

Floats = npt.NDArray[np.float32]

_TYPE_INT, _TYPE_TEXT = 0, 3
"""Tags of llama_model_kv_override."""
_LONGEST = 127
"""Bytes of a key, and of a text, in such an override."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a file is rewritten. ``file_type`` is llama.cpp's number of the mixture of types; ``output`` and
    ``token_embedding`` are ggml's numbers of one tensor's type each, None leaves them to the mixture.

    ``requantize`` also takes weights that are quantized already. ``leave_output`` keeps output.weight as it is. ``pure``
    gives every matrix the same type. ``importance`` has for tensors by name how much each column matters, one row for each
    expert. ``notes`` are added to the file's metadata. ``buffer``: bytes of rows held at once; None is llama.cpp's own.
    """

    file_type: int
    threads: int
    requantize: bool = False
    leave_output: bool = False
    pure: bool = False
    token_embedding: int | None = None
    output: int | None = None
    importance: Mapping[str, Floats] = field(default_factory=dict)
    notes: Mapping[str, int | str] = field(default_factory=dict)
    buffer: int | None = None


def quantize(source: str, target: str, wanted: Quantization, *, dry_run: bool = False) -> bool:
    """Write ``source``, with all its parts, to ``target`` as ``wanted``; False when it failed, and the log says why.

    ``dry_run`` writes nothing: the log says what each tensor would become. Raises UsageError for a number that is no type.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = max(1, wanted.threads)
    params.ftype = _file_type(wanted.file_type)
    params.allow_requantize = wanted.requantize
    params.quantize_output_tensor = not wanted.leave_output
    params.pure = wanted.pure
    params.dry_run = dry_run
    if wanted.token_embedding is not None:
        params.token_embedding_type = _tensor_type(wanted.token_embedding)
    if wanted.output is not None:
        params.output_tensor_type = _tensor_type(wanted.output)
    if wanted.buffer is not None:
        params.max_buf_size = max(1, wanted.buffer)
    # Both must outlive the call.
    importance, notes = _importance(wanted.importance), _notes(wanted.notes)
    if wanted.importance:
        params.imatrix = importance
    if wanted.notes:
        params.kv_overrides = notes
    return int(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))) == 0


def _file_type(number: int) -> int:
    known = [getattr(llama_cpp, name) for name in dir(llama_cpp) if name.startswith("LLAMA_FTYPE_")]
    if number not in known or number == llama_cpp.LLAMA_FTYPE_GUESSED:
        raise UsageError(f"{number} is no type of a file that llama.cpp can write")
    return number


def _tensor_type(number: int) -> int:
    """Return ``number`` when it is a type that weights can be written as; llama.cpp ends the process for others."""
    if not 0 <= number < int(llama_cpp.GGML_TYPE_COUNT) or number in _needing_importance():
        raise UsageError(f"{number} is no type that token embeddings or the output can have")
    return number


def _needing_importance() -> list[int]:
    base = ggml_base()
    if base is None:
        return []
    base.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
    return [kind for kind in range(llama_cpp.GGML_TYPE_COUNT) if base.ggml_quantize_requires_imatrix(kind)]


def _importance(columns: Mapping[str, Floats]) -> Any:
    """Return the list that llama.cpp reads, which ends with an entry without a name. Refers to the arrays' own memory."""
    entries = (llama_cpp.llama_model_imatrix_data * (len(columns) + 1))()
    for entry, (name, values) in zip(entries, columns.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries


def _notes(values: Mapping[str, int | str]) -> Any:
    """Return the list that llama.cpp reads, which ends with an empty key."""
    entries = (llama_cpp.llama_model_kv_override * (len(values) + 1))()
    for entry, (key, value) in zip(entries, values.items(), strict=False):
        entry.key = key.encode()[:_LONGEST]
        if isinstance(value, int):
            entry.tag, entry.value.val_i64 = _TYPE_INT, value
        else:
            # Cut between characters: half of one is not text.
            cut = value.encode()[:_LONGEST].decode("utf-8", "ignore")
            entry.tag, entry.value.val_str = _TYPE_TEXT, cut.encode()
    return entries
