"""Machines that pretend: files of a system in a folder, tools that print what they are told, and builds of llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmlab.lab.doctor.probe import Probe
from lmlab.worker.examining.messages import Build, ComputeDevice

CPU = ComputeDevice("CPU", "A processor", "cpu", 8_000_000_000, 8_000_000_000)


def machine(
    root: Path,
    files: Mapping[str, str] | None = None,
    tools: Mapping[str, str] | None = None,
    *,
    platform: str = "linux",
    architecture: str = "x86_64",
    environ: Mapping[str, str] | None = None,
) -> Probe:
    """Return a machine with these files below ``root``; ``tools`` print what stands by their names, others there are none."""
    for name, text in (files or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(command: Sequence[str]) -> str | None:
        return (tools or {}).get(command[0])

    return Probe(root, platform, architecture, environ or {}, run)


def build(
    *features: str, devices: tuple[ComputeDevice, ...] | None = (CPU,), gpu_offload: bool = False, threads: int = 2
) -> Build:
    return Build("0.3.36", "0.25.3", "lib", features, gpu_offload, devices, threads)
