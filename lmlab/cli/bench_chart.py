"""How decoding slows with depth and gains with sequences, as bars of text. Knows nothing of how it is measured."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lmlab.cli.bench_words import amount
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.lab.bench.report import Figure, Report

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LABEL = 24
_VALUE = 9
_WIDEST = 60


def text(report: Report, encoding: str) -> str:
    """Return the charts that there are two bars for, in what ``encoding`` can show."""
    figures = [(result.label, figure) for result in report.results for figure in result.figures]
    by_depth = [(label, one.key.depth, one) for label, one in figures if one.key.measure == "decode"]
    by_number = [(label, one.key.sequences, one) for label, one in figures if one.key.measure == "decode_together"]
    blocks = "utf" in encoding.lower()
    charts = (
        _chart("decode tokens/s, by depth", by_depth, blocks),
        _chart("decode tokens/s of all sequences, by their number", by_number, blocks),
    )
    return "".join(f"\n{line}" for chart in charts for line in chart) + "\n"


def _chart(title: str, bars: Sequence[tuple[str, int, Figure]], blocks: bool) -> Iterator[str]:
    places = sorted({place for _, place, _ in bars})
    if len(places) < 2:
        return
    labels = list(dict.fromkeys(label for label, _, _ in bars))
    names = [one_line(label, _LABEL) for label in labels] if len(labels) > 1 else [""]
    wide = max(map(len, names))
    most = max(figure.spread.median for _, _, figure in bars)
    room = min(_WIDEST, shutil.get_terminal_size().columns - _VALUE - wide - 10)
    values = {(label, place): figure.spread.median for label, place, figure in bars}
    yield title
    for place in places:
        for number, label in enumerate(labels):
            value = values.get((label, place))
            if value is not None:
                head = f"{place:>7,}" if number == 0 else " " * 7
                bar = _bar(value / most * max(1, room), blocks)
                yield f"{head}  {names[number]:<{wide}}{' ' if wide else ''}{bar} {amount(value, 'tokens/s')}"
    yield ""


def _bar(length: float, blocks: bool) -> str:
    if not blocks:
        return "#" * max(1, round(length))
    eighths = max(1, round(length * 8))
    return _EIGHTHS[8] * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
