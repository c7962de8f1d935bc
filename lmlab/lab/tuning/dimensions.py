"""What may be varied of how a model is loaded, and which values make sense on this machine. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from lmlab.lab.tuning.rule import Objective, Rates
from lmlab.lab.tuning.search import Dimension
from lmlab.lab.tuning.settings import WHOLE_TYPES
from lmlab.worker.messages import KvType, LoadSpec

USUAL_UBATCH = 512
UBATCHES = (128, 256, 1024, 2048)
KV_TYPES: tuple[KvType, ...] = ("q8_0", "q4_0")

Costly: TypeAlias = Literal["kv", "weights"]
"""What changes replies, and so is tried only when it was said that it may."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured: ``prompt`` tokens read and ``decode`` tokens written, both after ``depth`` tokens, ``repeat`` times."""

    prompt: int
    decode: int
    depth: int
    repeat: int = 2

    @property
    def context(self) -> int:
        """Tokens of context that it takes."""
        return self.depth + max(self.prompt, self.decode)

    def seconds(self, rates: Rates, load_s: float) -> float:
        """Return about how long it takes, with the prompt that is read first to warm up."""
        read = self.depth + (1 + self.repeat) * self.prompt
        return load_s + read / rates.prefill + self.repeat * self.decode / rates.decode


PROBE = Workload(prompt=64, decode=8, depth=0, repeat=1)
_SIZES = (2048, 1024, 512, 256, 128, 64)


def workload(probe: Rates, load_s: float, *, objective: Objective, seconds: float, context: int) -> Workload:
    """Return the largest that takes ``seconds`` at most, as far as ``probe`` tells, in ``context`` tokens; else the smallest."""
    sizes = [_shaped(size, objective) for size in _SIZES]
    fitting = [size for size in sizes if size.context <= context] or sizes[-1:]
    return next((size for size in fitting if size.seconds(probe, load_s) <= seconds), fitting[-1])


def _shaped(size: int, objective: Objective) -> Workload:
    written = min(64, max(16, size // 8))
    match objective:
        case "mixed":
            return Workload(size, written, size // 2)
        case "prefill":
            return Workload(size, 8, size // 2)
        case "decode":
            return Workload(32, written, size // 2)


def thread_counts(logical: int, physical: int) -> list[int]:
    """Return how many threads are worth a try: all up to four, then shares of the cores, up to all logical processors."""
    if logical <= 4:
        return list(range(1, logical + 1))
    shares = (physical // 4, physical // 2, 3 * physical // 4, physical, (physical + logical) // 2, logical)
    return sorted({count for count in shares if count > 0})


def dimensions(
    base: LoadSpec,
    *,
    logical: int,
    physical: int,
    size: Callable[[], Workload],
    objective: Objective,
    allowed: frozenset[Costly],
    kv_said: bool,
) -> list[Dimension]:
    """Return what to vary of ``base``: what it leaves open, in the order in which the most is won.

    ``size`` returns how much is measured at that time.
    """
    found = []
    if base.threads is None:
        usual = str(physical)
        counts = [count for count in thread_counts(logical, physical) if count != physical]
        found.append(Dimension("threads", usual, lambda spec: _threads(spec, counts), "there is one processor"))
    if "kv" in allowed and not kv_said:
        found.append(Dimension("KV cache", "f16", _kv_types, "a quantized one needs flash attention"))
    if base.flash_attention is None:
        found.append(Dimension("flash attention", "auto", _flash, "a quantized KV cache needs it"))
    if base.ubatch is None and objective != "decode":
        short = "the time is too short for prompts that fill a batch; --max-time gives more"
        found.append(Dimension("ubatch", str(USUAL_UBATCH), lambda spec: _ubatches(spec, size()), short))
    return found


def _threads(spec: LoadSpec, counts: Sequence[int]) -> Mapping[str, LoadSpec]:
    return {str(count): replace(spec, threads=count) for count in counts}


def _kv_types(spec: LoadSpec) -> Mapping[str, LoadSpec]:
    if spec.flash_attention is False:
        return {}
    return {kind: replace(spec, key_type=kind, value_type=kind) for kind in KV_TYPES}


def _flash(spec: LoadSpec) -> Mapping[str, LoadSpec]:
    # A quantized V cache needs it.
    return {"off": replace(spec, flash_attention=False)} if spec.value_type in WHOLE_TYPES else {}


def _ubatches(spec: LoadSpec, size: Workload) -> Mapping[str, LoadSpec]:
    """Return those that make a difference to a prompt as long as the one that is measured."""
    batches = {min(USUAL_UBATCH, size.prompt)}
    found = {}
    for count in UBATCHES:
        batch = min(count, size.prompt)
        if batch not in batches:
            batches.add(batch)
            found[str(count)] = replace(spec, ubatch=count)
    return found
