"""The processor: its name, how many cores of it may be used, and which of its instructions the build was made for."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from lmlab import memory
from lmlab.lab.doctor.finding import Finding, Level, counted
from lmlab.lab.doctor.probe import Probe
from lmlab.lab.doctor.rebuilding import rebuild
from lmlab.lab.tuning.machine import machine
from lmlab.worker.examining.messages import Build

SECTION = "processor"

# llama.cpp's name of each set of instructions, and the flags that the kernel lists when the processor has it.
_X86 = {
    "SSE3": {"pni"},
    "SSSE3": {"ssse3"},
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "F16C": {"f16c"},
    "FMA": {"fma"},
    "BMI2": {"bmi2"},
    "AVX_VNNI": {"avx_vnni"},
    "AVX512": {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"},
    "AVX512_VBMI": {"avx512vbmi"},
    "AVX512_VNNI": {"avx512_vnni"},
    "AVX512_BF16": {"avx512_bf16"},
    "AMX_INT8": {"amx_int8"},
}
_ARM = {
    "NEON": {"asimd"},
    "FP16_VA": {"asimdhp"},
    "DOTPROD": {"asimddp"},
    "MATMUL_INT8": {"i8mm"},
    "SVE": {"sve"},
    "SME": {"sme"},
}
_APPLE = {
    "NEON": "hw.optional.AdvSIMD",
    "FP16_VA": "hw.optional.arm.FEAT_FP16",
    "DOTPROD": "hw.optional.arm.FEAT_DotProd",
    "MATMUL_INT8": "hw.optional.arm.FEAT_I8MM",
    "SME": "hw.optional.arm.FEAT_SME",
}
# Numbers that IsProcessorFeaturePresent takes.
_WINDOWS = {"SSE3": 13, "SSSE3": 36, "AVX": 39, "AVX2": 40, "AVX512": 41, "NEON": 19, "DOTPROD": 43}
_GREAT = {"AVX", "AVX2", "F16C", "FMA", "NEON", "DOTPROD", "MATMUL_INT8"}
"""Without one of these it takes a multiple of the time."""


def check(probe: Probe, build: Build | None) -> Iterator[Finding]:
    system = f"{_system_name(probe)}, {probe.architecture}"
    yield Finding(SECTION, "system", "ok", system, values={"platform": probe.platform})
    yield Finding(SECTION, "processor", "ok", machine().rpartition(", ")[0])
    yield _cores(probe, build)
    if build is not None:
        yield _features(instructions(probe), build)


def instructions(probe: Probe) -> dict[str, bool] | None:
    """Return by llama.cpp's names whether the processor has each set of instructions, those left out of which the system
    does not tell; None when it tells of none.
    """
    listed = re.search(r"^(flags|Features)\s*:\s*(.+)$", probe.text("proc/cpuinfo"), re.MULTILINE)
    if listed:
        flags = set(listed.group(2).split())
        known = _X86 if listed.group(1) == "flags" else _ARM
        return {feature: needed <= flags for feature, needed in known.items()}
    if probe.platform == "darwin" and probe.architecture == "arm64":
        printed = probe.run(["sysctl", *_APPLE.values()]) or ""
        values = {key: value.strip() for key, _, value in (line.partition(":") for line in printed.splitlines())}
        return {feature: values[key] == "1" for feature, key in _APPLE.items() if key in values} or None
    return _windows_instructions()


def cpu_limit(root: Path) -> float | None:
    """Return how many processors' time the cgroups of this process allow at most; None is as much as there is."""
    limits = []
    for folder, version in memory.cgroups("cpu", root):
        if version == 2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _cores(probe: Probe, build: Build | None) -> Finding:
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    limit = cpu_limit(probe.root)
    threads = None if build is None else build.threads
    text = f"{physical or 'unknown'} physical, {logical} logical"
    text += f", {allowed} of them allowed here" if allowed < logical else ""
    text += "" if threads is None else f"; a model gets {counted(threads, 'thread')}"
    values = {"physical": physical, "logical": logical, "allowed": allowed, "limit": limit, "threads": threads}
    if limit is not None and threads is not None and limit < threads:
        return Finding(
            SECTION,
            "cores",
            "warning",
            f"{text}, and the container may use {limit:g} processors: threads that wait for each other are slow",
            f"set LMLAB_THREADS={max(1, int(limit))}, or give the container more",
            values,
        )
    return Finding(SECTION, "cores", "ok", text, values=values)


def _features(has: dict[str, bool] | None, build: Build) -> Finding:
    uses = {feature.partition("=")[0] for feature in build.features}
    text = f"the build uses {', '.join(build.features) or 'none'}"
    values = {"build": list(build.features), "processor": has}
    if has is None:
        return Finding(SECTION, "instructions", "ok", f"{text}; the processor's are not known here", values=values)
    again = f"build it for this processor: {rebuild(build.binding)}"
    lacking = [feature for feature, there in has.items() if feature in uses and not there]
    if lacking:
        said = f"{text}; the processor does not have {', '.join(lacking)}, so the engine may crash"
        return Finding(SECTION, "instructions", "warning", said, again, values)
    unused = [feature for feature, there in has.items() if there and feature not in uses]
    if not unused:
        return Finding(SECTION, "instructions", "ok", f"{text}: all that the processor has", values=values)
    level: Level = "warning" if _GREAT & set(unused) else "note"
    said = f"{text}, and not {', '.join(unused)}, which the processor has"
    return Finding(SECTION, "instructions", level, said, again, values)


def _system_name(probe: Probe) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]+)', probe.text("etc/os-release"), re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()}"
    return f"{found.group(1)} ({kernel})" if found else kernel


def _windows_instructions() -> dict[str, bool] | None:
    if sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        arm = {"NEON", "DOTPROD"}
        mine = arm if platform.machine() == "ARM64" else set(_WINDOWS) - arm
        return {feature: bool(present(number)) for feature, number in _WINDOWS.items() if feature in mine}
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
