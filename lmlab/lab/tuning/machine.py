"""What a measured speed belongs to: this machine's processor and how many of its threads may be used."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys


@functools.cache
def machine() -> str:
    """Return the processor's name and how many logical processors this process may run on, as one line."""
    return f"{' '.join(_processor().split())}, {logical_processors()} logical processors"


def logical_processors() -> int:
    """Return how many logical processors this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _processor() -> str:
    if sys.platform == "darwin":
        name = _macos()
    elif sys.platform == "win32":
        name = os.environ.get("PROCESSOR_IDENTIFIER", "")
    else:
        name = _linux()
    return name or platform.processor() or platform.machine() or "unknown processor"


def _macos() -> str:
    try:
        said = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def _linux() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            # On ARM there is no model name; the part number then tells processors apart.
            named = {key.strip(): value.strip() for key, _, value in lines}
    except OSError:
        return ""
    return named.get("model name") or " ".join(
        f"{key} {named[key]}" for key in ("CPU implementer", "CPU part") if key in named
    )
