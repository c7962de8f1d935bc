"""llama.cpp as a loaded library: start-up, its log, its abort hook, what it was built for."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import llama_cpp

_ABORT_HOOK = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
# The versioned name first: beside it the unversioned file can be a second copy, in which the hook would do nothing.
_GGML_BASE = ("libggml-base.so.0", "libggml-base.0.dylib", "libggml-base.dylib", "libggml-base.so", "ggml-base.dll")
_LOG_LEVELS = {1: "debug", 2: "info", 3: "warning", 4: "error"}


class Library:
    """llama.cpp, started once in this process.

    ``log`` gets every line llama.cpp logs and its level: ``debug``, ``info``, ``warning`` or ``error``.
    ``on_abort`` gets the message of a failed assertion just before llama.cpp ends the process.
    """

    _started: ClassVar[list[Library]] = []

    def __init__(self, log: Callable[[str, str], None], on_abort: Callable[[str], None]) -> None:
        # llama.cpp keeps the callbacks for the life of the process; a collected one would be called as freed memory.
        Library._started.append(self)
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        self._log = log
        self._on_abort = on_abort
        self._level = "info"
        self._line = ""
        self._log_callback = llama_cpp.llama_log_callback(self._logged)
        self._abort_callback = _ABORT_HOOK(self._aborted)
        llama_cpp.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        self._hook_abort()
        llama_cpp.llama_backend_init()

    @property
    def version(self) -> str:
        """The pinned binding's version, which fixes the llama.cpp inside it."""
        return str(llama_cpp.__version__)

    @property
    def system_info(self) -> str:
        """What llama.cpp was built with and found: processor features, devices."""
        return bytes(llama_cpp.llama_print_system_info()).decode("utf-8", "replace").strip()

    @property
    def gpu_offload(self) -> bool:
        return bool(llama_cpp.llama_supports_gpu_offload())

    def _hook_abort(self) -> None:
        base = ggml_base()
        if base is None:
            self._log("warning", "no ggml-base library found: a failed assertion will not be reported with its text")
            return
        base.ggml_set_abort_callback.restype = ctypes.c_void_p
        base.ggml_set_abort_callback(self._abort_callback)

    def _aborted(self, message: bytes) -> None:
        self._on_abort(message.decode("utf-8", "replace").strip())

    def _logged(self, level: int, text: bytes, _data: object) -> None:
        # Level 5 continues the line before; lines come in pieces.
        self._level = _LOG_LEVELS.get(level, self._level)
        self._line += text.decode("utf-8", "replace")
        while "\n" in self._line:
            line, self._line = self._line.split("\n", 1)
            if line.strip(" ."):
                self._log(self._level, line)


def ggml_base() -> ctypes.CDLL | None:
    """Return the library below llama.cpp, for what is not bound; None when this build has it elsewhere."""
    return shared_library(*_GGML_BASE)


def shared_library(*names: str) -> ctypes.CDLL | None:
    """Return the first of ``names`` that lies beside llama.cpp."""
    folder = library_folder()
    found = next((folder / name for name in names if (folder / name).exists()), None)
    return None if found is None else ctypes.CDLL(str(found))


def library_folder() -> Path:
    """Return where llama.cpp's libraries lie."""
    return Path(llama_cpp.__file__).parent / "lib"


def abort_by_flag() -> tuple[object, int]:
    """Return ``(flag, callback)`` for ``llama_set_abort_callback``: the callback reads the flag without running Python.

    llama.cpp asks after every graph node, too often for a Python callback. libc's ``atoi`` on a buffer that holds "0" or
    "1" answers in C; any thread cancels by writing to the buffer.
    """
    flag = ctypes.create_string_buffer(b"0")
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    return flag, ctypes.cast(libc.atoi, ctypes.c_void_p).value or 0
