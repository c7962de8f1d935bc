"""Whole-stack decode speed against the bare low-level loop of the same library, in one run, taking turns.

    python benchmarks/decode.py [MODEL ...] [--tokens 200] [--rounds 7]

The whole stack is a request through LocalBackend: the worker process, its engine, text, and every event received here.
Both sides are told to draw the same number of tokens; the ratio of medians is what counts, as machines are noisy.
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


def compare(path: Path, tokens: int, rounds: int) -> dict[str, float]:
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
        for turn in range(rounds + 1):
            ours.append(whole_stack(backend, f"turn-{turn}", tokens, turn))
            bare.stdin.write(f"{turn}\n")
            bare.stdin.flush()
            theirs.append(json.loads(bare.stdout.readline())["tokens_per_s"])
        backend.close()
        bare.stdin.close()
        bare.wait()
    # The first turn warms both up.
    ours, theirs = ours[1:], theirs[1:]
    return {
        "lmlab tokens/s": statistics.median(ours),
        "bare loop tokens/s": statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "ratio of best": max(ours) / max(theirs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["smollm2", "gemma3-270m"])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for ref in arguments.models:
        model = resolve(ref, paths=Paths.find(), config=Config())
        row = compare(model.path, arguments.tokens, arguments.rounds)
        print(ref, "  ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
