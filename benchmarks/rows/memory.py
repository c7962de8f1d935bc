"""What a worker at rest holds in memory after work, beyond the model's file, its KV cache and its output buffers. Linux only.

Counted as proportional set size, which shares a page between the processes that map it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import texts
from sides import DRAWN, Lmlab, sampling, token_counter
from table import NotMeasured, Row, Setting

from lmlab.backends import TextPrompt
from lmlab.worker.serving import IDLE_S

PROMPT, CANDIDATES, TOKENS = 1000, 8, 32
LOGIT = 4
"""Bytes."""


def measure(setting: Setting) -> Iterator[Row]:
    if not sys.platform.startswith("linux"):
        raise NotMeasured("the memory of a process is read from /proc here: run this row on Linux")
    prompt = texts.document(1, setting.size(PROMPT, 50), token_counter(setting.path))
    figures: list[tuple[float, str]] = []
    for _ in range(setting.turns or 2):
        with closing(Lmlab(setting.path)) as lmlab:
            lmlab.run([TextPrompt(prompt)], sampling(DRAWN, TOKENS), candidates=CANDIDATES)
            lmlab.run([TextPrompt(text) for text in texts.PROMPTS], sampling(DRAWN, TOKENS))
            layout, vocabulary = lmlab.info.layout, lmlab.info.vocabulary
            time.sleep(2 * IDLE_S)
            held = proportional_bytes(lmlab.pid)
        outputs = layout.outputs * vocabulary * LOGIT
        more = (held - setting.path.stat().st_size - layout.kv - outputs) / 1e6
        detail = (
            f"{held / 1e6:.0f} MB held; file {setting.path.stat().st_size / 1e6:.0f}, KV {layout.kv / 1e6:.0f}, "
            f"outputs {outputs / 1e6:.0f}; the compute buffers, {layout.compute / 1e6:.0f}, count as more"
        )
        figures.append((more, detail))
    yield Row(
        work="worker memory, more than the accounted",
        model=setting.ref,
        against="file + KV + output buffers",
        goal=120,
        unit="MB",
        at_most=True,
        values=tuple(more for more, _ in figures),
        detail=figures[-1][1],
    )


def proportional_bytes(pid: int) -> int:
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise NotMeasured("this Linux does not say how much memory a process holds (no Pss in smaps_rollup)")
    return int(found.group(1)) * 1024
