"""Whole-stack decode speed against the bare low-level loop of the same library, in one run, taking turns.

    python benchmarks/decode.py [MODEL ...] [--tokens 100] [--turns 4] [--pairs 7]

The whole stack is a request through LocalBackend: the worker process, its engine, text, and every event received here.
Both sides are told to draw the same number of tokens. Where a process happens to lie in memory moves its speed by several
percent for as long as it lives, so a run compares several pairs of fresh processes: each pair takes turns and gives one
ratio of medians, and the median of these is what counts.
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lmlab.backends import Event, Failed, Finished, LoadSpec, Request, TextPrompt
from lmlab.backends.local import LocalBackend
from lmlab.models import resolve
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths

PROMPT = "The history of the sea is a long one. In the beginning"


def whole_stack(backend: LocalBackend, name: str, tokens: int, seed: int) -> float:
    """Return tokens per second of one request, drawn to exactly ``tokens`` or measured again with another seed."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    for attempt in range(20):
        sampling = SamplingParams(seed=seed + 1000 * attempt, max_tokens=tokens)
        backend.generate(Request(f"{name}-{attempt}", TextPrompt(PROMPT), sampling), events.put)
        while not isinstance(event := events.get(), Finished):
            if isinstance(event, Failed):
                raise event.error
        if event.usage.completion_tokens >= tokens and event.timings.decode_tokens_per_s:
            return event.timings.decode_tokens_per_s
    raise SystemExit(f"the model ends before {tokens} tokens each time; ask for fewer with --tokens")


def compare(path: Path, tokens: int, turns: int) -> tuple[float, float]:
    """Return the median tokens per second of lmlab and of the bare loop, for one pair of fresh processes."""
    with tempfile.TemporaryDirectory() as logs:
        backend = LocalBackend(LoadSpec(str(path)), lambda _: None, log_folder=Path(logs))
        threads = backend.wait_ready().threads
        bare = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare_loop.py")), str(path), str(tokens), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert bare.stdin is not None
        assert bare.stdout is not None
        bare.stdout.readline()
        ours, theirs = [], []
        for turn in range(turns + 1):
            ours.append(whole_stack(backend, f"turn-{turn}", tokens, turn))
            bare.stdin.write(f"{turn}\n")
            bare.stdin.flush()
            theirs.append(json.loads(bare.stdout.readline())["tokens_per_s"])
        backend.close()
        bare.stdin.close()
        bare.wait()
    # The first turn warms both up.
    return statistics.median(ours[1:]), statistics.median(theirs[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["smollm2", "gemma3-270m"])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    for ref in arguments.models:
        path = resolve(ref, paths=Paths.find(), config=Config()).path
        pairs = [compare(path, arguments.tokens, arguments.turns) for _ in range(arguments.pairs)]
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        print(
            f"{ref}: lmlab {statistics.median(ours for ours, _ in pairs):.1f} tokens/s, "
            f"bare loop {statistics.median(theirs for _, theirs in pairs):.1f}, "
            f"ratio {statistics.median(ratios):.3f} (pairs from {ratios[0]:.3f} to {ratios[-1]:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
