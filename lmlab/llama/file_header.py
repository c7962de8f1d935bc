"""The header of a GGUF file as llama.cpp's own reader has it: numbers and tensor sizes, in milliseconds, no weights.

For what must be known before a model is loaded. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lmlab.llama.library import ggml_base

Number: TypeAlias = int | tuple[int, ...]

# gguf.h's enum gguf_type, as far as whole numbers go.
_WHOLE = {
    0: ctypes.c_uint8,
    1: ctypes.c_int8,
    2: ctypes.c_uint16,
    3: ctypes.c_int16,
    4: ctypes.c_uint32,
    5: ctypes.c_int32,
    10: ctypes.c_uint64,
    11: ctypes.c_int64,
}
_STRING, _ARRAY = 8, 9
_LONGEST = 4096
"""Arrays of numbers up to here are read, such as those with one a layer; of others only the length is of interest."""
_PART = re.compile(r"-00001-of-(\d{5})\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """``numbers`` by key; ``lengths`` of the arrays by key; ``tensors``: the bytes of each, all parts together."""

    architecture: str
    numbers: Mapping[str, Number]
    lengths: Mapping[str, int]
    tensors: Mapping[str, int]


class _Parameters(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def read_file_header(path: str) -> FileHeader | None:
    """Return the header of the model at ``path``, of one in parts the first. None where it cannot be read."""
    base = ggml_base()
    if base is None:
        return None
    library = _declare(base)
    found: FileHeader | None = None
    tensors: dict[str, int] = {}
    for part in _parts(path):
        pointer = library.gguf_init_from_file(os.fsencode(part), _Parameters(True, None))
        if not pointer:
            return None
        try:
            tensors |= _tensors(library, pointer)
            found = found or _read(library, pointer, tensors)
        finally:
            library.gguf_free(pointer)
    return found


def _parts(path: str) -> list[str]:
    found = _PART.search(path)
    if found is None:
        return [path]
    stem, count = path[: found.start()], int(found.group(1))
    return [f"{stem}-{number:05}-of-{count:05}{Path(path).suffix}" for number in range(1, count + 1)]


def _read(library: Any, pointer: int, tensors: Mapping[str, int]) -> FileHeader:
    numbers: dict[str, Number] = {}
    lengths: dict[str, int] = {}
    architecture = ""
    for index in range(library.gguf_get_n_kv(pointer)):
        key = library.gguf_get_key(pointer, index).decode("utf-8", "replace")
        kind = library.gguf_get_kv_type(pointer, index)
        if kind in _WHOLE:
            numbers[key] = _values(library.gguf_get_val_data(pointer, index), _WHOLE[kind], 1)[0]
        elif kind == _ARRAY:
            lengths[key] = library.gguf_get_arr_n(pointer, index)
            element = library.gguf_get_arr_type(pointer, index)
            if element in _WHOLE and lengths[key] <= _LONGEST:
                data = library.gguf_get_arr_data(pointer, index)
                numbers[key] = _values(data, _WHOLE[element], lengths[key])
        elif kind == _STRING and key == "general.architecture":
            architecture = library.gguf_get_val_str(pointer, index).decode("utf-8", "replace")
    return FileHeader(architecture, numbers, lengths, tensors)


def _values(address: int, kind: Any, count: int) -> tuple[int, ...]:
    return tuple((kind * count).from_address(address)) if count else ()


def _tensors(library: Any, pointer: int) -> dict[str, int]:
    return {
        library.gguf_get_tensor_name(pointer, index).decode("utf-8", "replace"): library.gguf_get_tensor_size(
            pointer, index
        )
        for index in range(library.gguf_get_n_tensors(pointer))
    }


def _declare(base: ctypes.CDLL) -> Any:
    """Give each function of ``base`` that is used here its types, from gguf.h."""
    pointer, index, text = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
    base.gguf_init_from_file.argtypes, base.gguf_init_from_file.restype = [text, _Parameters], pointer
    base.gguf_free.argtypes, base.gguf_free.restype = [pointer], None
    for name in ("gguf_get_n_kv", "gguf_get_n_tensors"):
        function = getattr(base, name)
        function.argtypes, function.restype = [pointer], ctypes.c_int64
    for name, result in {
        "gguf_get_key": text,
        "gguf_get_kv_type": ctypes.c_int,
        "gguf_get_arr_type": ctypes.c_int,
        "gguf_get_arr_n": ctypes.c_size_t,
        "gguf_get_arr_data": pointer,
        "gguf_get_val_data": pointer,
        "gguf_get_val_str": text,
        "gguf_get_tensor_name": text,
        "gguf_get_tensor_size": ctypes.c_size_t,
    }.items():
        function = getattr(base, name)
        function.argtypes, function.restype = [pointer, index], result
    return base
