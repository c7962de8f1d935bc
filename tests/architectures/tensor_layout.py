"""Which tensors an architecture has, and of what shape, as llama.cpp itself says of a header without any."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llama_cpp

from lmlab.llama.library import ggml_base

Shape = tuple[int, ...]
"""The longest stride first, as numpy has it."""


class _GgufInit(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


class _Tensor(ctypes.Structure):
    """How a ``ggml_tensor`` begins."""

    _fields_ = (("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("extents", ctypes.c_int64 * 4))


def tensor_shapes(header: Path) -> dict[str, Shape]:
    """Return the shape of each tensor, the optional ones among them, of a model with the metadata of ``header``.

    Empty when llama.cpp refuses the metadata; what it said is in its log.
    """
    base = ggml_base()
    assert base is not None
    base.gguf_init_from_file.restype = ctypes.c_void_p
    base.gguf_init_from_file.argtypes = (ctypes.c_char_p, _GgufInit)
    base.gguf_free.argtypes = (ctypes.c_void_p,)
    base.ggml_get_name.restype = ctypes.c_char_p
    base.ggml_get_name.argtypes = (ctypes.c_void_p,)
    metadata = base.gguf_init_from_file(os.fsencode(header), _GgufInit(True, None))
    shapes: dict[str, Shape] = {}

    def note(tensor: int, _data: object) -> None:
        extents = list(_Tensor.from_address(tensor).extents)
        while len(extents) > 1 and extents[-1] == 1:
            extents.pop()
        shapes[base.ggml_get_name(tensor).decode()] = tuple(reversed(extents))

    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_init_from_user(
        metadata, llama_cpp.llama_model_set_tensor_data_t(note), None, parameters
    )
    base.gguf_free(metadata)
    if model:
        llama_cpp.llama_model_free(model)
    return shapes
