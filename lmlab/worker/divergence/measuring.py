"""One text through two models: windows of it read by both in turn, and their logits compared as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from lmlab import memory
from lmlab.worker.divergence.messages import Figures, Measure, Measuring, ModelLoading
from lmlab.worker.divergence.sides import Side, prepare
from lmlab.worker.divergence.tally import Tally
from lmlab.worker.divergence.windows import Windows
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import LoadSpec

APART_S = 0.2
"""Between two reports, at least: to say how far it is takes time that grows with the text."""

Report = Callable[[ModelLoading | Measuring], None]


def measure(
    request: Measure, log: LoadLog, report: Report, *, available: Callable[[], int] = memory.available_memory
) -> Figures:
    """Return the figures of the whole text; ``report`` gets those so far now and then. Needs a started library.

    Raises as ``prepare`` does, and EngineStopped or ModelError for what goes wrong on the way.
    """
    windows = prepare((request.first, request.second), request.text, log, available())
    with (
        closing(_load(request.first, windows.size, log, report)) as first,
        closing(_load(request.second, windows.size, log, report)) as second,
    ):
        return _read(windows, first, second, report)


def _read(windows: Windows, first: Side, second: Side, report: Report) -> Figures:
    tally = Tally(windows, first.model.vocabulary.size)
    begin = windows.first_scored
    told = time.monotonic()
    for done, window in enumerate(windows, 1):
        first.begin(window[:begin])
        second.begin(window[:begin])
        # Nothing of the text follows the last token.
        for start in range(begin, len(window) - 1, first.rows):
            piece = window[start : min(start + first.rows, len(window) - 1)]
            rows = zip(first.read(piece, start), second.read(piece, start), strict=True)
            for position, (before, after) in enumerate(rows, start):
                tally.add(before, after, window[position + 1])
        if done < windows.count and time.monotonic() - told >= APART_S:
            report(Measuring(tally.figures(done)))
            told = time.monotonic()
    return tally.figures(windows.count)


def _load(spec: LoadSpec, size: int, log: LoadLog, report: Report) -> Side:
    told = -1.0

    def progress(fraction: float) -> None:
        nonlocal told
        if fraction - told >= 0.01 or fraction >= 1:
            told = fraction
            report(ModelLoading(spec.path, fraction))

    return Side(spec, size, log, progress)
