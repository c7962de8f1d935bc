"""Many rows on a fake model: memory at 100,000 rows against 1,000, and a run that finds 100,000 rows done.

Each is a process of its own (``batch_rows.py``): what counts is the most memory it ever held, and its whole life.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from sides import HERE, run_script
from table import Row, Setting

FEW, MANY = 1_000, 100_000


def measure(setting: Setting) -> Iterator[Row]:
    many = setting.size(MANY, 2000)
    with tempfile.TemporaryDirectory() as folder:
        few_out, many_out = Path(folder) / "few.jsonl", Path(folder) / "many.jsonl"
        script = HERE / "batch_rows.py"
        few = run_script(script, FEW, few_out)
        all_of_them = run_script(script, many, many_out)
        again = [run_script(script, many, many_out) for _ in range(setting.turns or 3)]
    yield Row(
        work=f"memory of a batch of {many:,} rows",
        model="fake",
        against=f"{FEW:,} rows",
        goal=1.25,
        values=(all_of_them["memory"] / few["memory"],),
        detail=f"{all_of_them['memory'] / 1e6:.0f} MB and {few['memory'] / 1e6:.0f} MB; {many / all_of_them['seconds']:,.0f} rows/s",
        at_most=True,
    )
    yield Row(
        work=f"a run that finds {many:,} rows done",
        model="fake",
        against="",
        goal=3.0,
        values=tuple(turn["seconds"] for turn in again),
        detail="the whole process, without its start-up of Python",
        unit="s",
        at_most=True,
    )
