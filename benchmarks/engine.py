"""The engine's speed and memory against the alternatives, each as a ratio within one run, taking turns.

    python benchmarks/engine.py all                        # the whole table, in Markdown
    python benchmarks/engine.py shared [--turns 3] [--models smollm2] [--scale 1.0] [--json FILE]

The rows are decode, shared, bestof, document, batched, smooth, lookup, memory, classify, volume, reshape, branches, compare
and bench; their modules in rows/ say what each does. Run build_llama_tools.py first, and let the machine do nothing else.
Each row takes up to four minutes on two cores; --scale 0.1 tries one out with a tenth of its tokens, whose figures mean
nothing.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rows import (
    batched,
    bench,
    bestof,
    branches,
    classify,
    compare,
    document,
    lookup,
    memory,
    reshape,
    shared,
    single,
    smooth,
    volume,
)
from sides import TOOLS
from table import NotMeasured, Row, Setting, markdown

from lmlab.errors import LmlabError
from lmlab.models import resolve
from lmlab.settings import Config, Paths

SMOLLM2, GEMMA = "smollm2", "gemma3-270m"
ROWS: dict[str, tuple[Callable[[Setting], Iterator[Row]], tuple[str, ...]]] = {
    "decode": (single.measure, (SMOLLM2, GEMMA)),
    "shared": (shared.measure, (SMOLLM2,)),
    "bestof": (bestof.measure, (SMOLLM2, GEMMA)),
    "document": (document.measure, (SMOLLM2, GEMMA)),
    "batched": (batched.measure, (SMOLLM2, GEMMA)),
    "smooth": (smooth.measure, (SMOLLM2,)),
    "lookup": (lookup.measure, (SMOLLM2,)),
    "memory": (memory.measure, (SMOLLM2, GEMMA)),
    "classify": (classify.measure, (SMOLLM2, GEMMA)),
    "volume": (volume.measure, (SMOLLM2,)),
    "reshape": (reshape.measure, (GEMMA,)),
    "branches": (branches.measure, (SMOLLM2, GEMMA)),
    "compare": (compare.measure, (SMOLLM2,)),
    "bench": (bench.measure, (SMOLLM2, GEMMA)),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", choices=[*ROWS, "all"])
    parser.add_argument("--models", nargs="+", help="names or files, instead of the row's own")
    parser.add_argument("--turns", type=int, help="how often each side measures, instead of the row's own")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies prompts and replies; 1 is the table's")
    parser.add_argument("--in-flight", type=int, default=8, help="requests open at llama-server at once (shared)")
    parser.add_argument("--tools", type=Path, default=TOOLS, help="where build_llama_tools.py put them")
    parser.add_argument("--json", type=Path, help="write the rows, with every turn, to this file")
    return parser.parse_args()


def measured(name: str, ref: str, asked: argparse.Namespace) -> Iterator[Row]:
    path = resolve(ref, paths=Paths.find(), config=Config()).path
    return ROWS[name][0](Setting(Path(ref).stem, path, asked.tools, asked.turns, asked.scale, asked.in_flight))


def main() -> None:
    asked = arguments()
    # Ended by a signal too, it must end llama-server.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    rows: list[Row] = []
    failed = 0
    for name in ROWS if asked.row == "all" else (asked.row,):
        for ref in asked.models or ROWS[name][1]:
            try:
                for row in measured(name, ref, asked):
                    rows.append(row)
                    print(row.line(), flush=True)
            except (NotMeasured, LmlabError) as error:
                failed += 1
                print(f"{name}, {ref}: not measured: {error}", file=sys.stderr, flush=True)
            if asked.json:
                asked.json.write_text(json.dumps([row.to_dict() for row in rows], indent=2) + "\n", "utf-8")
    if asked.row == "all":
        print(f"\n{markdown(rows)}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
