"""How the machine is asked about itself: files of the system, and programs that come with its drivers.

Knows nothing of what is asked. A test asks a machine of its own making.
"""

from __future__ import annotations

import os
import platform as system
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

TOOL_S = 4.0
"""Longest that a program may take: nvidia-smi on a machine whose driver is just being loaded takes some seconds."""

Tool: TypeAlias = Callable[[Sequence[str]], "str | None"]


def run_tool(command: Sequence[str]) -> str | None:
    """Return what ``command`` printed; None when there is no such program, or it failed or took too long."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TOOL_S,
            check=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Probe:
    """``root`` is where proc, sys and dev are found; ``platform`` as in sys, ``architecture`` as uname has it."""

    root: Path = Path("/")
    platform: str = sys.platform
    architecture: str = field(default_factory=system.machine)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    run: Tool = run_tool

    def text(self, path: str) -> str:
        """Return the text of a file of the system, stripped; empty when there is none."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def folders(self, pattern: str) -> list[str]:
        """Return the paths below the root that match, in order."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))
