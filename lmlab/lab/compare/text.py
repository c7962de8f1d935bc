"""A report as plain text for a terminal or a pipe. Knows nothing of other layouts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from lmlab.lab.compare.divergences import divergence_lines
from lmlab.lab.compare.report import Report
from lmlab.lab.compare.tables import Table, conclusion, duel_table, figure_notes, figure_table, mean_table, title_of
from lmlab.lab.compare.words import answer_facts, headline
from lmlab.terminal_text import one_line

_GAP = "  "
_CELL = 60
_SHOWN = 3


def text_lines(report: Report) -> Iterator[str]:
    """Yield the figures and what follows from them; of few prompts the answers, too."""
    yield headline(report)
    if len(report.prompts) <= _SHOWN and report.repeats == 1:
        yield from _answers(report)
    if report.prompts:
        yield from ("", *_columns(figure_table(report)))
        yield from (f"{_GAP}({note})" for note in figure_notes(report))
    for measure in report.measures:
        yield from ("", title_of(measure))
        if (means := mean_table(measure, report.labels)) is not None:
            yield from _columns(means)
        yield from _columns(duel_table(measure, report.labels))
        for note in measure.notes:
            yield f"{_GAP}({note})"
        for duel in measure.duels:
            yield conclusion(duel, measure, report.labels)
    for divergence in report.divergences:
        yield from ("", *divergence_lines(divergence))
    if not report.measures and not report.divergences:
        yield ""
        yield "nothing here says which is better: add --judge MODEL or --score S, or -t TEMPLATE with expected answers"


def _answers(report: Report) -> Iterator[str]:
    for prompt in report.prompts:
        yield from ("", one_line(prompt.text))
        for answer, label in zip(prompt.cases[0].answers, report.labels, strict=True):
            facts = "not answered" if answer is None else ", ".join(answer_facts(answer))
            yield from ("", f"── {one_line(label, _CELL)} · {facts}")
            if answer is not None and answer.text:
                yield from answer.text.strip("\n").split("\n")


def _columns(table: Table) -> Iterator[str]:
    rows = [[one_line(cell, _CELL) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            _padded(cell, width, right=table.numeric and place > 0)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (_GAP + _GAP.join(cells)).rstrip()


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _width(text: str) -> int:
    """Return how many cells of a terminal ``text`` takes."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
