"""The GPUs of the machine, as its drivers tell, beside those that the build computes on."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from lmlab.lab.doctor.finding import Finding
from lmlab.lab.doctor.probe import Probe
from lmlab.lab.doctor.rebuilding import rebuild
from lmlab.models import size_text
from lmlab.terminal_text import one_line
from lmlab.worker.examining.messages import Build, ComputeDevice

SECTION = "GPU"

Maker: TypeAlias = Literal["nvidia", "amd", "intel", "apple"]

_MAKERS: dict[str, Maker] = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"
_TITLES = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel", "apple": "Apple"}
_DISCRETE = 3_000_000_000
"""Bytes: an AMD GPU with less memory of its own is one that shares the processor's."""
_HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
_WAYS: dict[Maker, tuple[str, str]] = {
    "nvidia": ("install the CUDA toolkit, then", "-DGGML_CUDA=on"),
    "amd": ("install the Vulkan SDK, then", "-DGGML_VULKAN=on"),
    "intel": ("install the Vulkan SDK, then", "-DGGML_VULKAN=on"),
    "apple": ("run", "-DGGML_METAL=on"),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """``memory`` in bytes where it is known. ``integrated``: it computes little faster than the processor beside it."""

    maker: Maker
    name: str
    memory: int | None = None
    integrated: bool = False
    driver: str | None = None

    def __str__(self) -> str:
        facts = [size_text(self.memory)] if self.memory else []
        facts += [f"driver {self.driver}"] if self.driver else []
        return f"{self.name} ({', '.join(facts)})" if facts else self.name


def check(probe: Probe, build: Build | None) -> Iterator[Finding]:
    seen = gpus(probe)
    values = {"seen": [asdict(gpu) for gpu in seen]}
    if not seen:
        yield Finding(SECTION, "seen", "ok", "none on this machine that its drivers tell of", values=values)
    else:
        yield Finding(SECTION, "seen", "ok", ", ".join(map(str, seen)), values=values)
    if build is not None:
        yield _used(probe, seen, build)


def gpus(probe: Probe) -> tuple[Gpu, ...]:
    """Return the GPUs that one may compute on, as far as the system tells without any library of ours."""
    if probe.platform == "darwin":
        return (Gpu("apple", f"{_apple_name(probe)} GPU"),) if probe.architecture == "arm64" else ()
    found = [*_nvidia(probe)]
    # What one source names, a later one may only number.
    for source in (_vulkan(probe), _windows(), _bus(probe)):
        known = {gpu.maker for gpu in found}
        found += [gpu for gpu in source if gpu.maker not in known]
    return tuple(found)


def _used(probe: Probe, seen: Sequence[Gpu], build: Build) -> Finding:
    used = [device for device in build.devices or () if device.kind in ("gpu", "integrated")]
    values = {"used": [asdict(device) for device in used], "offload": build.gpu_offload}
    if used:
        return Finding(SECTION, "used", "ok", ", ".join(map(_device_text, used)), values=values)
    if not seen:
        text = "none: the build computes on the processor" if not build.gpu_offload else "none is there for this build"
        return Finding(SECTION, "used", "ok", text, values=values)
    better = [gpu for gpu in seen if not gpu.integrated]
    if build.gpu_offload and build.devices is not None:
        hidden = [f"{name}={probe.environ[name]}" for name in _HIDING if name in probe.environ]
        why = f" ({', '.join(hidden)} is set)" if hidden else ""
        advice = f"unset {hidden[0].partition('=')[0]}" if hidden else f"check the driver of {seen[0].name}"
        text = f"none: the build can compute on a GPU and finds none it may use{why}"
        return Finding(SECTION, "used", "warning" if hidden or not better else "broken", text, advice, values)
    if build.gpu_offload:
        return Finding(
            SECTION, "used", "note", "the build can compute on a GPU and does not say on which", values=values
        )
    gpu = (better or list(seen))[0]
    first, option = _WAYS[gpu.maker]
    advice = f"{first}: {rebuild(build.binding, option, platform=probe.platform)}"
    if not better:
        text = "none: the build computes on the processor, which such a GPU may or may not outdo"
        return Finding(SECTION, "used", "note", text, advice, values)
    text = f"none: the build has no GPU support, and {gpu.name} is idle"
    return Finding(SECTION, "used", "broken", text, advice, values)


def _nvidia(probe: Probe) -> Iterator[Gpu]:
    printed = probe.run(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"])
    rows = [[part.strip() for part in line.split(",")] for line in (printed or "").splitlines()]
    rows = [row for row in rows if len(row) == 3]
    for name, mebibytes, driver in rows:
        memory = int(mebibytes) * 1024 * 1024 if mebibytes.isdecimal() else None
        yield Gpu("nvidia", _named("nvidia", name), memory, driver=one_line(driver, 40) or None)
    if not rows:
        for folder in probe.folders("proc/driver/nvidia/gpus/*"):
            if found := re.search(r"^Model:\s*(.+)$", probe.text(f"{folder}/information"), re.MULTILINE):
                yield Gpu("nvidia", _named("nvidia", found.group(1)))


def _vulkan(probe: Probe) -> Iterator[Gpu]:
    """Yield what the Vulkan tools list, where they are installed."""
    for block in re.split(r"^GPU\d+:$", probe.run(["vulkaninfo", "--summary"]) or "", flags=re.MULTILINE)[1:]:
        values = dict(re.findall(r"^\s*(\w+)\s*=\s*(.+?)\s*$", block, re.MULTILINE))
        maker = _MAKERS.get(values.get("vendorID", ""))
        kind = values.get("deviceType", "")
        if maker is not None and "CPU" not in kind:
            yield Gpu(maker, _named(maker, values.get("deviceName", "GPU")), integrated="INTEGRATED" in kind)


def _bus(probe: Probe) -> Iterator[Gpu]:
    """Yield what Linux lists by the numbers of its maker; virtual ones are none to compute on."""
    for folder in probe.folders("sys/class/drm/card[0-9]*/device"):
        maker = _MAKERS.get(probe.text(f"{folder}/vendor"))
        # Each connector of a card has an entry beside the card's own.
        if maker is None or "-" in folder.split("/")[3]:
            continue
        memory = probe.text(f"{folder}/mem_info_vram_total")
        size = int(memory) if memory.isdecimal() else None
        integrated = maker == "intel" or (maker == "amd" and (size or 0) < _DISCRETE)
        name = probe.text(f"{folder}/product_name") or f"GPU (PCI device {probe.text(f'{folder}/device')})"
        yield Gpu(maker, _named(maker, name), size, integrated)


def _windows() -> list[Gpu]:
    """Return the display adapters that Windows has drivers for."""
    found: list[Gpu] = []
    if sys.platform == "win32":
        import winreg

        for index in range(16):
            try:
                with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{_ADAPTERS}\{index:04}") as key:
                    name = str(winreg.QueryValueEx(key, "DriverDesc")[0])
            except OSError:
                continue
            for maker in _MAKERS.values():
                if _TITLES[maker].lower() in name.lower():
                    integrated = maker == "intel" and "arc" not in name.lower()
                    found.append(Gpu(maker, _named(maker, name), integrated=integrated))
    return found


def _apple_name(probe: Probe) -> str:
    return one_line(probe.run(["sysctl", "-n", "machdep.cpu.brand_string"]) or "", 60) or "Apple"


def _named(maker: Maker, name: str) -> str:
    name, title = one_line(name, 80), _TITLES[maker]
    return name if title.lower() in name.lower() else f"{title} {name}"


def _device_text(device: ComputeDevice) -> str:
    name = one_line(device.description or device.name, 80)
    if not device.total:
        return name
    return f"{name}, {size_text(device.free)} of {size_text(device.total)} free"
