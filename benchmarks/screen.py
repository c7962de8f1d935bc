"""What a person feels, measured on the real program in a pseudo-terminal: start-up, keys, Esc. POSIX only.

    python benchmarks/screen.py [--model smollm2] [--keys 200] [--stops 10]

- start-up: `lmlab --version`; `lmlab chat` to its first paint, and to a model that answers;
- keys: from a key to its character on the screen while a reply streams (median, p95, worst), and while four candidates
  stream in columns beside each other;
- Esc: from the key to the last piece of the reply, while it streams, and in the middle of a long prompt.
Textual waits up to 0.1 s after Esc to tell it from the beginning of another key; that is part of the figures.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from terminal import Terminal

from lmlab.models import resolve
from lmlab.settings import Config, Paths

LONG_TASK = "Write a very long story about the sea, with many chapters, and never stop."
# Characters that a small English model will not say, one for each key.
RARE = [chr(code) for code in range(0x16A0, 0x16EA)]


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def version_s(rounds: int = 15) -> list[float]:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lmlab", "--version"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return times


def start_chat(model: Path, home: str, *options: str, columns: int = 100) -> tuple[Terminal, float, float]:
    """Return a chat that is ready for a message, and the seconds to its first paint and to the loaded model."""
    terminal = Terminal(["chat", str(model), "--temp", "0.9", *options], {"LMLAB_HOME": home}, columns)
    painted = terminal.wait_for(lambda output: b"lmlab" in output) - terminal.started
    # Typed before the model is there: the reply's first tokens show that it is.
    ready = terminal.wait_for(lambda output: re.search(rb"CPU|GPU|CUDA|Metal", output) is not None) - terminal.started
    terminal.drain(0.5)
    return terminal, painted, ready


def stream(terminal: Terminal) -> None:
    """Ask for a long reply and wait until it is well under way."""
    start = len(terminal.output)
    terminal.send(LONG_TASK + "\r")
    terminal.wait_for(lambda output: len(output) > 6000, start=start)


def keys_s(terminal: Terminal, count: int) -> list[float]:
    times: list[float] = []
    while len(times) < count:
        before = len(times)
        stream(terminal)
        for key in RARE:
            start = len(terminal.output)
            pressed = terminal.send(key)
            wanted = key.encode()
            times.append(terminal.wait_for(lambda output, wanted=wanted: wanted in output, start=start) - pressed)
            # A person's pace, and so that keys meet every phase of the stream.
            end = time.perf_counter() + 0.04
            while (left := end - time.perf_counter()) > 0:
                terminal.read(left)
        try:
            stop(terminal, limit_s=5)
        except TimeoutError:
            # The reply had come to its own end: some of these keys met an idle screen.
            del times[before:]
        terminal.send("\x15")
        terminal.drain(0.4)
    return times[:count]


def stop(terminal: Terminal, limit_s: float = 60) -> float:
    """Press Esc and return the seconds until the screen says that the reply is stopped."""
    start = len(terminal.output)
    pressed = terminal.send("\x1b")
    return terminal.wait_for(lambda output: b"stopped" in output, start=start, limit_s=limit_s) - pressed


def stops_s(terminal: Terminal, count: int) -> list[float]:
    times = []
    for _ in range(count):
        # A clear screen: the word that is waited for must not be an old one, drawn again.
        terminal.send("/clear\r")
        terminal.drain(0.5)
        stream(terminal)
        times.append(stop(terminal))
        terminal.drain(0.4)
    return times


def prefill_stops_s(terminal: Terminal, count: int, folder: str) -> list[float]:
    """Esc while a prompt of some 5,000 tokens is read, each with another beginning so that nothing is cached."""
    times = []
    for turn in range(count):
        path = Path(folder) / f"long-{turn}.txt"
        path.write_text(f"{turn} " + "The ships came home late that year. " * 600, encoding="utf-8")
        terminal.send("/clear\r")
        terminal.drain(0.4)
        terminal.send(f"/read {path}\r")
        terminal.drain(0.4)
        start = len(terminal.output)
        terminal.send("What is this?\r")
        terminal.wait_for(lambda output: re.search(rb"reading", output) is not None, start=start)
        end = time.perf_counter() + 1.0
        while (left := end - time.perf_counter()) > 0:
            terminal.read(left)
        times.append(stop(terminal))
        terminal.drain(0.4)
    return times


def report(name: str, times: Sequence[float]) -> None:
    print(
        f"{name:34} median {statistics.median(times) * 1000:6.0f} ms   p95 {quantile(times, 0.95) * 1000:6.0f} ms"
        f"   worst {max(times) * 1000:6.0f} ms   n {len(times)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--stops", type=int, default=10)
    arguments = parser.parse_args()
    model = resolve(arguments.model, paths=Paths.find(), config=Config()).path
    report("lmlab --version", version_s())
    paints, readies = [], []
    # A worker may still be writing a snapshot when its terminal is closed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        os.environ.pop("LMLAB_HOME", None)
        for _ in range(5):
            terminal, painted, ready = start_chat(model, home)
            paints.append(painted)
            readies.append(ready)
            terminal.close()
        report("chat, first paint", paints)
        report("chat, model loaded", readies)
        terminal, _, _ = start_chat(model, home)
        report("key to screen, reply streaming", keys_s(terminal, arguments.keys))
        terminal.send("/clear\r")
        terminal.drain(0.5)
        report("Esc to stopped, streaming", stops_s(terminal, arguments.stops))
        report("Esc to stopped, reading a prompt", prefill_stops_s(terminal, max(3, arguments.stops // 2), home))
        terminal.close()
        terminal, _, _ = start_chat(model, home, "--best-of", "4", columns=200)
        report("key to screen, four columns", keys_s(terminal, arguments.keys))
        terminal.close()


if __name__ == "__main__":
    main()
