"""The checked answers that an output holds already. Knows nothing of how they were checked."""

from __future__ import annotations

import re
from collections.abc import Collection

from lmlab.lab.batch.output import Output

# As ``Work.result`` begins a line: what a row's own columns say comes later.
_CHECKED = re.compile(
    rb'"key":"[0-9a-f]{32}","run":"([0-9a-f]{16})","variant":"(?:[^"\\]|\\.)*","correct":(true|false),'
)


def earlier_checks(output: Output, runs: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return, for each of ``runs``, how many answers were checked and how many of them were correct."""
    # Imported here: locks and the index take time to import.
    from lmlab.lab.batch.output_file import FileOutput

    counts = dict.fromkeys(runs, (0, 0))
    if isinstance(output, FileOutput):
        for data in output.lines():
            if (found := _CHECKED.search(data)) and (run := found[1].decode()) in counts:
                checked, correct = counts[run]
                counts[run] = checked + 1, correct + (found[2] == b"true")
    return counts
