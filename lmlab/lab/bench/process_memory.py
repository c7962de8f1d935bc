"""What memory a process holds, as its system counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Bytes. ``held`` now: on Linux the proportional set size, which shares a page between the processes that map it,
    elsewhere what the process alone holds. ``peak``: the most that was resident; None where the system does not say."""

    held: int
    peak: int | None


def memory_of(pid: int) -> ProcessMemory | None:
    """Return what process ``pid`` of this user holds; None once it is gone, or where that may not be asked."""
    try:
        process = psutil.Process(pid)
        full, plain = process.memory_full_info(), process.memory_info()
    except psutil.Error:
        return None
    return ProcessMemory(getattr(full, "pss", full.uss), getattr(plain, "peak_wset", None) or _peak(pid))


def _peak(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None
