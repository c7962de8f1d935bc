"""What llama.cpp was built to compute on and found on this machine: processors, GPUs and other accelerators."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.llama.library import ggml_base, shared_library

DeviceKind: TypeAlias = Literal["cpu", "gpu", "integrated", "accelerator", "other"]

# ggml_backend_dev_type, in its order.
_KINDS: tuple[DeviceKind, ...] = ("cpu", "gpu", "integrated", "accelerator")
# The versioned name first, as for ggml-base: devices are registered in the copy that llama.cpp itself uses.
_GGML = ("libggml.so.0", "libggml.0.dylib", "libggml.dylib", "libggml.so", "ggml.dll")


@dataclass(frozen=True, slots=True)
class Device:
    """``free`` and ``total`` are bytes of its own memory; both 0 where it has none or does not say."""

    name: str
    description: str
    kind: DeviceKind
    free: int
    total: int


def devices() -> tuple[Device, ...] | None:
    """Return the devices, once the library has been started; None when this build keeps them elsewhere."""
    registry, base = shared_library(*_GGML), ggml_base()
    if registry is None or base is None:
        return None
    registry.ggml_backend_dev_count.restype = ctypes.c_size_t
    registry.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    registry.ggml_backend_dev_get.restype = ctypes.c_void_p
    return tuple(
        _device(base, registry.ggml_backend_dev_get(index)) for index in range(registry.ggml_backend_dev_count())
    )


def ggml_version() -> str | None:
    """Return the version of the tensor library below llama.cpp."""
    base = ggml_base()
    if base is None or not hasattr(base, "ggml_version"):
        return None
    base.ggml_version.restype = ctypes.c_char_p
    return bytes(base.ggml_version()).decode("utf-8", "replace")


def _device(base: ctypes.CDLL, pointer: int) -> Device:
    for call in (base.ggml_backend_dev_name, base.ggml_backend_dev_description):
        call.argtypes, call.restype = [ctypes.c_void_p], ctypes.c_char_p
    base.ggml_backend_dev_type.argtypes, base.ggml_backend_dev_type.restype = [ctypes.c_void_p], ctypes.c_int
    size = ctypes.POINTER(ctypes.c_size_t)
    base.ggml_backend_dev_memory.argtypes, base.ggml_backend_dev_memory.restype = [ctypes.c_void_p, size, size], None
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    base.ggml_backend_dev_memory(pointer, ctypes.byref(free), ctypes.byref(total))
    kind = base.ggml_backend_dev_type(pointer)
    return Device(
        name=_text(base.ggml_backend_dev_name(pointer)),
        description=_text(base.ggml_backend_dev_description(pointer)),
        kind=_KINDS[kind] if 0 <= kind < len(_KINDS) else "other",
        free=free.value,
        total=total.value,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").strip()
