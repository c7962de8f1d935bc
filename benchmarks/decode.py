"""Whole-stack decode speed against the bare low-level loop of the same library, in one run, taking turns.

    python benchmarks/decode.py [MODEL ...] [--tokens 100] [--turns 3] [--pairs 5] [--tools FOLDER]

The whole stack is a request through LocalBackend: the worker process, its engine, text, and every event received here.
All sides are told to draw the same number of tokens. Where a process happens to lie in memory moves its speed by several
percent for as long as it lives, so a run compares several groups of fresh processes: each takes turns and gives one
ratio of medians, and the median of these is what counts. Beside the bare loop as llama.cpp loads by itself stand one that
loads as lmlab's worker does, which tells layout in memory from overhead, and llama-bench, a new process each turn.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from collections.abc import Callable
from pathlib import Path

from sides import DRAWN, TOOLS, LineProcess, Lmlab, find_tool, llama_bench, sampling
from table import NotMeasured

from lmlab.backends import TextPrompt
from lmlab.backends.process import worker_environment
from lmlab.models import resolve
from lmlab.settings import Config, Paths

PROMPT = "The history of the sea is a long one. In the beginning"


def whole_stack(lmlab: Lmlab, tokens: int, seed: int) -> float:
    """Return tokens per second of one request, drawn to exactly ``tokens`` or measured again with another seed."""
    for attempt in range(20):
        how = sampling(DRAWN, tokens, seed + 1000 * attempt)
        done = lmlab.run([TextPrompt(PROMPT)], how)[0].finished
        if done.usage.completion_tokens >= tokens and done.timings.decode_tokens_per_s:
            return done.timings.decode_tokens_per_s
    raise NotMeasured(f"the model ends before {tokens} tokens each time; ask for fewer with --tokens")


def compare(path: Path, bench: Path, tokens: int, turns: int) -> dict[str, float]:
    """Return each side's median tokens per second, for one group of fresh processes."""
    lmlab = Lmlab(path)
    threads = lmlab.info.threads
    bare = LineProcess("bare_loop.py", path, tokens, threads)
    alike = LineProcess("bare_loop.py", path, tokens, threads, "--like-lmlab", environ=worker_environment(os.environ))
    sides: dict[str, Callable[[int], float]] = {
        "lmlab": functools.partial(whole_stack, lmlab, tokens),
        "bare loop": lambda seed: float(bare.ask(seed)["tokens_per_s"]),
        "bare loop loaded like lmlab": lambda seed: float(alike.ask(seed)["tokens_per_s"]),
        "llama-bench": lambda _: llama_bench(bench, path, tokens=tokens, threads=threads),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        names = list(sides)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rates[name].append(sides[name](turn))
    lmlab.close()
    bare.close()
    alike.close()
    # The first turn warms all of them up.
    return {name: statistics.median(rate[1:]) for name, rate in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["smollm2", "gemma3-270m"])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tools", type=Path, default=TOOLS)
    arguments = parser.parse_args()
    bench = find_tool(arguments.tools, "llama-bench")
    for ref in arguments.models:
        path = resolve(ref, paths=Paths.find(), config=Config()).path
        groups = [compare(path, bench, arguments.tokens, arguments.turns) for _ in range(arguments.pairs)]
        print(f"{ref}: lmlab {statistics.median(group['lmlab'] for group in groups):.1f} tokens/s", flush=True)
        for name in list(groups[0])[1:]:
            ratios = sorted(group["lmlab"] / group[name] for group in groups)
            print(
                f"  {name} {statistics.median(group[name] for group in groups):.1f} tokens/s, "
                f"ratio {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
