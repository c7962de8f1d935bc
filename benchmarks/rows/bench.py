"""What ``lmlab bench`` says of the model alone, against llama-bench and llama-batched-bench.

Each side starts a process of its own each turn, warms up, and measures as often; the figure is the median. Threads, batch
sizes and flash attention are the same, and weights are read into memory on both sides, where they can lie in huge pages.
What still differs: lmlab keeps the whole of sliding-window layers, where llama-bench keeps the window; and all sequences
in one KV cache, for which llama-batched-bench is told the same. A ratio above 1.03 is as wrong as one below 0.97.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from sides import Command, find_tool
from table import NotMeasured, Row, Setting, alternate, middle, ratios

from lmlab.backends import LoadSpec
from lmlab.backends.process import worker_environment
from lmlab.lab.bench import Speed, measure_speed
from lmlab.lab.compare.workers import cores

PROMPT, DECODE, DEPTHS = 512, 64, (0, 1024)
SEQUENCES, EACH_PROMPT, EACH_DECODE = 8, 128, 32
REPEAT, TURNS = 3, 5
GOAL = 0.97


def measure(setting: Setting) -> Iterator[Row]:
    tool, batched = find_tool(setting.tools, "llama-bench"), find_tool(setting.tools, "llama-batched-bench")
    threads, turns = cores(), setting.turns or TURNS
    prompt, decode = setting.size(PROMPT, 16), setting.size(DECODE, 8)
    for depth in (setting.size(depth, 0) for depth in DEPTHS):
        where = f"at depth {depth:,}"
        yield _row(
            setting,
            f"lmlab bench, {prompt} tokens of prompt {where}",
            "llama-bench",
            alternate(
                turns,
                lambda _, depth=depth: _ours(setting.path, threads, prompt, 1, depth).prefill.median,
                lambda _, depth=depth: _llama_bench(tool, setting.path, threads, prompt, 0, depth),
            ),
        )
        yield _row(
            setting,
            f"lmlab bench, {decode} tokens written {where}",
            "llama-bench",
            alternate(
                turns,
                lambda _, depth=depth: _ours(setting.path, threads, 1, decode, depth).decode.median,
                lambda _, depth=depth: _llama_bench(tool, setting.path, threads, 0, decode, depth),
            ),
        )
    each = setting.size(EACH_DECODE, 8)
    yield _row(
        setting,
        f"lmlab bench, {SEQUENCES} sequences writing {each} tokens each",
        "llama-batched-bench, one KV cache",
        alternate(
            turns,
            lambda _: _ours(setting.path, threads, 1, each, EACH_PROMPT, SEQUENCES).decode.median,
            lambda _: _llama_batched_bench(batched, setting.path, threads, each),
        ),
    )


def _row(setting: Setting, work: str, against: str, figures: list[tuple[float, ...]]) -> Row:
    return Row(
        work=work,
        model=setting.ref,
        against=against,
        goal=GOAL,
        values=ratios(figures, 0, 1),
        detail=f"lmlab {middle(figures, 0):.1f} tokens/s, {against} {middle(figures, 1):.1f}",
    )


def _ours(path: Path, threads: int, prompt: int, decode: int, depth: int, sequences: int = 1) -> Speed:
    with tempfile.TemporaryDirectory() as logs:
        found = measure_speed(
            LoadSpec(str(path), threads=threads, gpu_layers=0),
            prompt=prompt,
            decode=decode,
            depth=depth,
            sequences=sequences,
            repeat=REPEAT,
            log_folder=Path(logs),
        )
    assert found is not None
    return found


def _llama_bench(tool: Path, path: Path, threads: int, prompt: int, decode: int, depth: int) -> float:
    command: Command = [tool, "--model", path, "-p", str(prompt), "-n", str(decode), "-d", str(depth)]
    command += ["-r", str(REPEAT), "-t", str(threads), "-ngl", "0", "-fa", "auto", "-lm", "none", "-o", "json"]
    return float(median(json.loads(_output(command))[0]["samples_ts"]))


def _llama_batched_bench(tool: Path, path: Path, threads: int, decode: int) -> float:
    size = SEQUENCES * (EACH_PROMPT + decode)
    command: Command = [tool, "--model", path, "-c", str(size), "-npp", str(EACH_PROMPT), "-ntg", str(decode)]
    # It measures once: the same several times in one process is written as a list.
    command += ["-npl", ",".join([str(SEQUENCES)] * REPEAT), "--kv-unified", "-ngl", "0", "-lm", "none"]
    command += ["-t", str(threads), "-tb", str(threads), "--output-format", "jsonl"]
    lines = [json.loads(line) for line in _output(command).splitlines() if line.startswith("{")]
    return float(median(line["speed_tg"] for line in lines))


def _output(command: Command) -> str:
    environment = worker_environment(os.environ)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise NotMeasured(f"{Path(command[0]).name} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
