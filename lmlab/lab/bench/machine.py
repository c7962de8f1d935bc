"""Which machine and which software figures are of: what two benchmarks must have in common to be compared."""

from __future__ import annotations

import platform
from typing import Any

import psutil

from lmlab import __version__
from lmlab.lab.tuning.machine import machine


def this_machine() -> dict[str, Any]:
    return {
        "processor": machine(),
        "memory": int(psutil.virtual_memory().total),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def versions(llama_cpp: str) -> dict[str, str]:
    return {"lmlab": __version__, "llama_cpp": llama_cpp, "python": platform.python_version()}
