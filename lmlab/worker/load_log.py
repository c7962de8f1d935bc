"""What llama.cpp says while it loads, as far as it is worth repeating: errors, devices, and the memory it took."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

_MIB = 1024 * 1024
_BUFFER = re.compile(r"(\S+) +(model|LoRA|KV|RS|output|compute) buffer size = +([\d.]+) MiB")
_STORED = re.compile(r"^llama_(?:kv_cache|memory)\w*: .*\bsize = +([\d.]+) MiB \(")
_DEVICE = re.compile(r"using device (\S+) \((.+?)\)")
_OFFLOADED = re.compile(r"offloaded (\d+)/\d+ layers to GPU")
_FLASH = re.compile(r"flash_attn += (\w+)|Flash Attention (enabled|not supported)")
_MODE = re.compile(r"\(load_mode = (\S+)\)")
_NO_REASON = "failed to load model"


@dataclass(slots=True)
class LoadLog:
    """Bytes are of main memory: ``weights``, ``kv`` and ``compute`` as allotted, ``kv_wanted`` on all devices, allotted or not."""

    errors: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    gpu_layers: int = 0
    flash_attention: bool = False
    mapped: bool = False
    weights: int = 0
    kv: int = 0
    kv_wanted: int = 0
    compute: int = 0

    @property
    def reason(self) -> str | None:
        """What went wrong, as was said last: not that something did."""
        return next((said for said in reversed(self.errors) if said != _NO_REASON), None)

    def forget_sizes(self) -> None:
        """Begin to add up anew."""
        self.weights = self.kv = self.kv_wanted = self.compute = 0

    def take(self, level: str, line: str) -> None:
        if level == "error":
            self.errors.append(line.split(": ", 1)[-1].strip())
        if found := _DEVICE.search(line):
            self.devices.append(found.group(2))
        if found := _OFFLOADED.search(line):
            self.gpu_layers = int(found.group(1))
        if found := _FLASH.search(line):
            # "auto" comes first, and what became of it later.
            self.flash_attention = "enabled" in found.groups()
        if found := _MODE.search(line):
            self.mapped = found.group(1).startswith("mmap")
        self._add_sizes(line)

    def _add_sizes(self, line: str) -> None:
        if found := _STORED.search(line):
            self.kv_wanted += _bytes(found.group(1))
        if not (found := _BUFFER.search(line)) or not self._in_main_memory(found.group(1)):
            return
        size = _bytes(found.group(3))
        match found.group(2):
            case "model" | "LoRA":
                self.weights += size
            case "KV" | "RS":
                self.kv += size
            case _:
                self.compute += size

    def _in_main_memory(self, buffer: str) -> bool:
        # On a Mac the GPU has no memory of its own. "_Host" is main memory that a GPU reads from.
        return sys.platform == "darwin" or not self.devices or buffer.startswith("CPU") or buffer.endswith("_Host")


def _bytes(mebibytes: str) -> int:
    return round(float(mebibytes) * _MIB)
