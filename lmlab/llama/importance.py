"""An importance matrix as llama.cpp's llama-imatrix writes it, read with bounds: how much each column of a weight matters.

Both of its forms: GGUF, and the older one without a name. Knows nothing of the model it was made of.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from lmlab.errors import UsageError
from lmlab.llama.library import ggml_base
from lmlab.llama.quantize import Floats

_MAGIC = b"GGUF"
_F32 = 0
_SUMS, _COUNTS = ".in_sum2", ".counts"
_MOST_ENTRIES = 1 << 17
_LONGEST_NAME = 256
_CHUNKS = "imatrix.chunk_count"


@dataclass(frozen=True, slots=True)
class Importance:
    """``columns`` by the name of the tensor; ``chunks`` of text it was made of, 0 when the file does not say."""

    columns: Mapping[str, Floats]
    chunks: int


class _Parameters(ctypes.Structure):
    _fields_ = (("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p))


def read_importance(path: str) -> Importance:
    """Return what the file at ``path`` holds. Raises UsageError when it cannot be read or is no importance matrix."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            read = _read_gguf if file.read(4) == _MAGIC else _read_older
            file.seek(0)
            found = read(path, file, size)
    except OSError as error:
        raise UsageError(f"cannot read the importance matrix {path}: {error.strerror or error}") from None
    if not found.columns:
        raise _wrong(path, "it has no entries")
    for name, values in found.columns.items():
        if not np.isfinite(values).all():
            raise _wrong(path, f"{name} has values that are not numbers")
    return found


def _read_gguf(path: str, file: BinaryIO, size: int) -> Importance:
    base = ggml_base()
    if base is None:
        raise UsageError(
            f"{path}: this build of llama.cpp cannot read importance matrices in GGUF form; give one of the older form"
        )
    library = _declare(base)
    pointer = library.gguf_init_from_file(os.fsencode(path), _Parameters(True, None))
    if not pointer:
        raise _wrong(path, "its header is damaged")
    try:
        data = library.gguf_get_data_offset(pointer)
        arrays: dict[str, Floats] = {}
        for index in range(library.gguf_get_n_tensors(pointer)):
            name = library.gguf_get_tensor_name(pointer, index).decode("utf-8", "replace")
            start, length = (
                data + library.gguf_get_tensor_offset(pointer, index),
                library.gguf_get_tensor_size(pointer, index),
            )
            if not name.endswith((_SUMS, _COUNTS)):
                continue
            if library.gguf_get_tensor_type(pointer, index) != _F32 or start + length > size:
                raise _wrong(path, f"{name} is not of whole 32-bit numbers")
            arrays[name] = _floats(path, file, start, length)
        key = library.gguf_find_key(pointer, _CHUNKS.encode())
        chunks = (
            library.gguf_get_val_u32(pointer, key) if key >= 0 and library.gguf_get_kv_type(pointer, key) == 4 else 0
        )
    finally:
        library.gguf_free(pointer)
    names = [name.removesuffix(_SUMS) for name in arrays if name.endswith(_SUMS)]
    return Importance({name: _means(path, name, arrays) for name in names}, chunks)


def _means(path: str, name: str, arrays: Mapping[str, Floats]) -> Floats:
    """Return the mean square of each column: the sums over what was counted, one count for each expert."""
    sums, counts = arrays[name + _SUMS], arrays.get(name + _COUNTS)
    if counts is None or counts.size == 0 or sums.size % counts.size:
        raise _wrong(path, f"the sums and counts of {name} do not belong together")
    rows = sums.reshape(counts.size, -1)
    used = (counts > 0)[:, None]
    # An expert that was never asked has no say: all its columns count alike.
    means = np.where(used, rows / np.where(used, counts[:, None], 1), 1)
    return np.ascontiguousarray(means.reshape(-1), np.float32)


def _read_older(path: str, file: BinaryIO, size: int) -> Importance:
    columns: dict[str, Floats] = {}
    entries = _int(path, file)
    if not 0 < entries <= _MOST_ENTRIES:
        raise _wrong(path, "it is neither a GGUF nor of the older form")
    for _ in range(entries):
        length = _int(path, file)
        if not 0 < length <= _LONGEST_NAME:
            raise _wrong(path, f"the name of an entry has {length:,} bytes")
        name = file.read(length).decode("utf-8", "replace")
        calls, values = _int(path, file), _int(path, file)
        if values < 1 or file.tell() + 4 * values > size:
            raise _wrong(path, f"{name} claims {values:,} values")
        sums = _floats(path, file, file.tell(), 4 * values)
        columns[name] = sums / np.float32(calls) if calls > 0 else sums
    rest = file.read(4)
    return Importance(columns, max(0, struct.unpack("<i", rest)[0]) if len(rest) == 4 else 0)


def _int(path: str, file: BinaryIO) -> int:
    data = file.read(4)
    if len(data) < 4:
        raise _wrong(path, "it ends early")
    return int(struct.unpack("<i", data)[0])


def _floats(path: str, file: BinaryIO, start: int, length: int) -> Floats:
    file.seek(start)
    data = file.read(length)
    if len(data) < length or length % 4:
        raise _wrong(path, "it ends early")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _wrong(path: str, what: str) -> UsageError:
    return UsageError(f"{path} is no importance matrix that can be used: {what}; llama.cpp's llama-imatrix makes one")


def _declare(base: ctypes.CDLL) -> Any:
    """Give each function of ``base`` that is used here its types, from gguf.h."""
    pointer, index = ctypes.c_void_p, ctypes.c_int64
    base.gguf_init_from_file.argtypes, base.gguf_init_from_file.restype = [ctypes.c_char_p, _Parameters], pointer
    base.gguf_free.argtypes, base.gguf_free.restype = [pointer], None
    base.gguf_find_key.argtypes, base.gguf_find_key.restype = [pointer, ctypes.c_char_p], index
    base.gguf_get_n_tensors.argtypes, base.gguf_get_n_tensors.restype = [pointer], index
    base.gguf_get_data_offset.argtypes, base.gguf_get_data_offset.restype = [pointer], ctypes.c_size_t
    for name, result in {
        "gguf_get_kv_type": ctypes.c_int,
        "gguf_get_val_u32": ctypes.c_uint32,
        "gguf_get_tensor_name": ctypes.c_char_p,
        "gguf_get_tensor_offset": ctypes.c_size_t,
        "gguf_get_tensor_size": ctypes.c_size_t,
        "gguf_get_tensor_type": ctypes.c_int,
    }.items():
        function = getattr(base, name)
        function.argtypes, function.restype = [pointer, index], result
    return base
