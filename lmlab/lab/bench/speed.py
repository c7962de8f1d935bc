"""The speed of one model as it would be loaded: reading a prompt and writing tokens, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lmlab.backends.benching import BenchProcess
from lmlab.errors import UsageError
from lmlab.lab.bench.spread import Spread, spread_of
from lmlab.worker.benching.messages import Run
from lmlab.worker.messages import LoadSpec


@dataclass(frozen=True, slots=True)
class Speed:
    """``prefill`` and ``decode`` in tokens per second, of all sequences together. ``load_s``: seconds until it was ready.

    ``memory``: bytes of main memory that weights, KV cache and buffers take.
    """

    prefill: Spread
    decode: Spread
    load_s: float
    memory: int


def measure_speed(
    spec: LoadSpec,
    *,
    prompt: int = 512,
    decode: int = 64,
    depth: int = 0,
    sequences: int = 1,
    repeat: int = 3,
    log_folder: Path,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Speed | None:
    """Load ``spec`` and return how fast it reads ``prompt`` tokens and writes ``decode`` tokens after ``depth`` tokens.

    Each of ``sequences`` does so, all at once; reading and writing take turns, ``repeat`` times. Nothing but the model's
    forward pass is measured, as by llama-bench. A context that was not asked for is as large as this needs. ``progress``
    gets the fraction done, on this thread. None once ``cancelled``, which is asked some ten times a second. Raises
    UsageError when the context asked for is too small or fixed batches hold no several sequences, ModelLoadError when it cannot be loaded, EngineStopped when the
    process ends.
    """
    if min(prompt, decode, sequences, repeat) < 1 or depth < 0:
        raise ValueError(f"nothing to measure: {prompt=}, {decode=}, {depth=}, {sequences=}, {repeat=}")
    if spec.deterministic and sequences > 1:
        raise UsageError(
            f"{sequences} sequences at once: --deterministic decodes one sequence at a time; leave out one of them"
        )
    needed = sequences * (depth + max(prompt, decode))
    sized = replace(spec, sequences=sequences, context=needed if spec.context is None else spec.context)
    runs = (Run(sequences, depth, prompt=prompt), Run(sequences, depth, decode=decode))
    rates: tuple[list[float], list[float]] = ([], [])
    with BenchProcess(log_folder, cancelled=cancelled) as process:
        opened = process.open(sized)
        if opened is None:
            return None
        for turn in range(repeat):
            for place, run in enumerate(runs):
                ran = process.run(run)
                if ran is None:
                    return None
                rates[place].append(sequences * (run.prompt + run.decode) / ran.seconds)
                progress((2 * turn + place + 1) / (2 * repeat))
    layout = opened.layout
    memory = layout.weights + layout.kv + layout.compute
    return Speed(spread_of(rates[0]), spread_of(rates[1]), opened.load_s, memory)
