"""One request through the whole stack, against the bare loop and llama-bench: ``decode.py`` as rows of the table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import decode
from sides import find_tool
from table import Row, Setting

TOKENS, TURNS = 100, 3
GOALS = {"bare loop": 0.98, "bare loop loaded like lmlab": 0.98, "llama-bench": 0.95}


def measure(setting: Setting) -> Iterator[Row]:
    bench = find_tool(setting.tools, "llama-bench")
    tokens = setting.size(TOKENS, 8)
    # What moves from run to run is the process, so its turns are groups of fresh ones.
    groups = [decode.compare(setting.path, bench, tokens, TURNS) for _ in range(setting.turns or 5)]
    ours = statistics.median(group["lmlab"] for group in groups)
    for name, goal in GOALS.items():
        yield Row(
            work=f"one request, {tokens} tokens, whole stack",
            model=setting.ref,
            against=name,
            goal=goal,
            values=tuple(group["lmlab"] / group[name] for group in groups),
            detail=f"lmlab {ours:.1f} tokens/s, {name} {statistics.median(group[name] for group in groups):.1f}",
        )
