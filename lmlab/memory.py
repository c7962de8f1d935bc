"""How much main memory there is, how much a model will take, and the largest context that fits.

Knows nothing of llama.cpp at work: sizes come from a file's header, or from whoever measures them.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from lmlab.errors import ModelLoadError

STEP = 256
"""llama.cpp allots contexts in steps of so many tokens."""

OWN = 128 * 1024 * 1024
"""Bytes that the worker takes besides: Python, the libraries, the vocabulary."""

_LEAST_CELL = 512
"""Bytes: no context is tried that has more cells than would fit at this size. llama.cpp keeps a note of 48 bytes for
each cell even of a context that is only measured."""

_UNLIKE = frozenset({"gemma3n", "graniteswitch", "grok", "minimax-01", "plm"})
_UNLIKE_PARTS = (".ssm.", ".indexer.")
"""Architectures, and parts of the keys of others, that keep or compute more than ``estimate`` reckons: states, keys to
choose by, several streams of activations, scores where flash attention cannot be had, one more layer."""

_CELL_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32}
_CELL_BYTES |= {"q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32}
_BLOCK = re.compile(r"^blk\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes of main memory."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + OWN


@dataclass(frozen=True, slots=True)
class ContextShape:
    """What the size of a context follows from, but for its length."""

    outputs: int
    ubatch: int
    flash_attention: bool
    key_type: str
    value_type: str


def available_memory(root: Path = Path("/"), system: Callable[[], int] | None = None) -> int:
    """Return how many bytes of main memory can be had: what the system has free or can free, within any cgroup's limit.

    ``root`` is where proc and sys are found; ``system`` returns the system's figure.
    """
    free = psutil.virtual_memory().available if system is None else system()
    return max(0, min([int(free), *_cgroup_rooms(root)]))


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that the cgroups of this process allow it at most; None is no limit."""
    limits = []
    for group, version in cgroups("memory", root):
        limit = _text(group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).strip()
        # Without a limit the first version says the largest number of pages there could be.
        if limit.isdecimal() and int(limit) < 1 << 60:
            limits.append(int(limit))
    return min(limits, default=None)


def cgroups(controller: str, root: Path = Path("/")) -> Iterator[tuple[Path, int]]:
    """Yield the folder of each cgroup that this process is in, and the cgroups' version, 1 or 2; none outside Linux.

    A limit on any group above holds too. In a container the path may be one of the host's, not to be seen here.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0":
            mount, version = root / "sys/fs/cgroup", 2
        elif controller in controllers.split(","):
            mount, version = root / "sys/fs/cgroup" / controller, 1
        else:
            continue
        folder = mount / path.strip("/")
        for group in (folder, *folder.parents):
            yield group, version
            if group == mount:
                break


def _cgroup_rooms(root: Path) -> Iterator[int]:
    """Yield what is left in each cgroup with a limit that this process is in."""
    for group, version in cgroups("memory", root):
        if version == 2:
            yield from _room(group, "memory.max", "memory.current", "inactive_file")
        else:
            yield from _room(group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _room(group: Path, limit_name: str, usage_name: str, cache_name: str) -> Iterator[int]:
    limit, usage = _text(group / limit_name).strip(), _text(group / usage_name).strip()
    if not limit.isdecimal() or not usage.isdecimal():
        return
    # Files that were read count as used, and are given up when memory is wanted.
    cache = re.search(rf"^{cache_name} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    yield int(limit) - int(usage) + (int(cache.group(1)) if cache else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def host_share(layers: int, offloaded: int) -> int:
    """Return how many of ``layers``, the first ones, stay in main memory when ``offloaded`` go to a GPU, the output's first."""
    return min(layers, max(0, layers + 1 - offloaded))


def host_weights(tensors: Mapping[str, int], layers: int, offloaded: int) -> int:
    """Return the bytes of ``tensors`` that stay in main memory; token embeddings always do."""
    kept = host_share(layers, offloaded)

    def stays(name: str) -> bool:
        if block := _BLOCK.match(name):
            return int(block.group(1)) < kept
        return not offloaded or not name.startswith("output")

    return sum(size for name, size in tensors.items() if stays(name))


def estimate(
    architecture: str,
    numbers: Mapping[str, int | tuple[int, ...]],
    tensors: Mapping[str, int],
    vocabulary: int,
    context: int,
    shape: ContextShape,
    offloaded: int,
) -> MemoryNeed | None:
    """Return no less than what a model with this header takes; None when the header does not tell, as of recurrent ones.

    It may be too much, as where layers share what they keep. Reading the header takes 7 ms for SmolLM2 and 30 ms for
    Gemma 3; measuring takes 65 ms and 380 ms, for the vocabulary is read too, so that is done only when it matters.
    """

    def number(key: str) -> int | None:
        value = numbers.get(f"{architecture}.{key}")
        return max(value, default=0) if isinstance(value, tuple) else value

    layers, width, heads = number("block_count"), number("embedding_length"), number("attention.head_count")
    inner = number("feed_forward_length") or number("expert_feed_forward_length")
    unlike = architecture in _UNLIKE or any(part in f".{key}" for key in numbers for part in _UNLIKE_PARTS)
    if not layers or not width or not heads or not inner or unlike:
        return None
    key = number("attention.key_length") or width // heads
    value = number("attention.value_length") or width // heads
    shared = numbers.get(f"{architecture}.attention.head_count_kv", heads)
    per_layer = shared if isinstance(shared, tuple) else (shared,) * layers
    a_head = key * _CELL_BYTES[shape.key_type] + value * _CELL_BYTES[shape.value_type]
    cells = -(-context // STEP) * STEP
    # Rows of activations, the mask, and without flash attention the scores of every head; then the logits.
    scores = 4 + (0 if shape.flash_attention else 8 * heads)
    active = inner * (number("expert_used_count") or 1)
    compute = shape.ubatch * (4 * (8 * width + 3 * active) + scores * cells) + 8 * shape.outputs * vocabulary
    return MemoryNeed(
        weights=host_weights(tensors, layers, offloaded),
        kv=round(cells * a_head * sum(per_layer[: host_share(layers, offloaded)])),
        compute=compute,
    )


def largest_context(need: Callable[[int], MemoryNeed], wanted: int, available: int) -> tuple[int, MemoryNeed]:
    """Return ``wanted`` if it fits, else the largest context below it that does, in steps of STEP, or 0 if none does.

    With it comes what ``wanted`` needs: a context too large even to be measured is scaled up from one that is not.
    """
    bound = min(wanted, max(STEP, available // _LEAST_CELL))
    bounded = need(bound)
    asked = bounded if bound == wanted else replace(bounded, kv=bounded.kv * wanted // bound)
    if asked.total <= available:
        return wanted, asked
    # In steps: ``fits`` does, or is nothing; ``above`` does not.
    fits, above = (bound // STEP, bound // STEP) if bounded.total <= available else (0, -(-bound // STEP))
    while above - fits > 1:
        middle = (fits + above) // 2
        if need(middle * STEP).total <= available:
            fits = middle
        else:
            above = middle
    return fits * STEP, asked


def refusal(path: str, context: int, need: MemoryNeed, available: int, fits: int, *, quantized: bool) -> ModelLoadError:
    """Return why ``path`` is not loaded with ``context`` tokens, and what would fit. ``quantized``: the KV cache is already."""
    parts = f"weights {size(need.weights)}, KV cache {size(need.kv)}, buffers {size(need.compute + OWN)}"
    what = f"{path} with a context of {context:,} tokens needs {size(need.total)} of memory ({parts})"
    ways = ["a file of this model with a smaller quantization"]
    if not quantized:
        ways.insert(0, "--kv-type q8_0")
    if fits:
        ways.insert(0, f"--ctx-size {fits} or less")
    return ModelLoadError(f"{what} and {size(available)} are available: use {', or '.join(ways)}")


def size(count: int) -> str:
    """Return bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def give_back() -> None:
    """Give memory that was freed back to the system. Only glibc keeps as much of it as to matter, and can be asked."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
