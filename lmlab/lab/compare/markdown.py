"""A report as Markdown, every answer in it. Knows nothing of other layouts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmlab.lab.compare.divergences import divergence_lines
from lmlab.lab.compare.method import method
from lmlab.lab.compare.report import PromptOf, Report
from lmlab.lab.compare.tables import Table, duel_table, figure_notes, figure_table, mean_table, title_of, variant_tables
from lmlab.lab.compare.words import again, answer_facts, case_words, conclusions
from lmlab.terminal_text import one_line, visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_FENCES = re.compile(r"`{3,}")


def markdown_lines(report: Report) -> Iterator[str]:
    """Yield the whole report, line by line."""
    yield from (f"# {_escaped(' against '.join(report.labels))}", "")
    for title, sentence in conclusions(report):
        yield f"- {_escaped(title)}: {_escaped(sentence)}"
    yield from ("", "## Method", "")
    for paragraph in method(report):
        yield from (_escaped(paragraph), "")
    yield from ("## Variants", "")
    for table in variant_tables(report):
        yield from _table(table)
    yield from ("## Results", "")
    for measure in report.measures:
        yield from (f"### {_escaped(title_of(measure))}", "")
        if (means := mean_table(measure, report.labels)) is not None:
            yield from _table(means)
        yield from _table(duel_table(measure, report.labels))
        yield from _list(measure.notes)
    if report.prompts:
        yield from ("### What the answers took", "")
        yield from _table(figure_table(report))
        yield from _list(figure_notes(report))
    for divergence in report.divergences:
        yield from ("### Divergence", "")
        yield from _list(divergence_lines(divergence))
    yield from ("## Answers", "")
    for prompt in report.prompts:
        yield from _prompt(prompt, report)
    yield from ("## To do it again", "")
    yield from _fenced("\n".join(f"{name}: {value}" for name, value in again(report)))


def _prompt(prompt: PromptOf, report: Report) -> Iterator[str]:
    named = f" ({_escaped(one_line(prompt.id, 60))})" if prompt.id is not None else ""
    yield from (f"### {prompt.number}{named}", "")
    yield from _fenced(prompt.text)
    if prompt.expected is not None:
        yield from (f"Expected: {_escaped(one_line(prompt.expected))}", "")
    for case in prompt.cases:
        if len(prompt.cases) > 1:
            yield from (f"#### Repeat {case.repeat + 1}", "")
        for answer, label in zip(case.answers, report.labels, strict=True):
            told = "not answered" if answer is None else ", ".join(answer_facts(answer))
            yield from (f"**{_escaped(label)}** ({_escaped(told)})", "")
            if answer is not None and answer.text:
                yield from _fenced(answer.text)
        yield from _list(case_words(case, report))


def _list(lines: Iterator[str] | tuple[str, ...]) -> Iterator[str]:
    said = [f"- {_escaped(line)}" for line in lines]
    yield from said
    if said:
        yield ""


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    align = "---:" if table.numeric else "---"
    yield f"| {' | '.join(map(_escaped, table.head))} |"
    yield f"| {' | '.join(['---', *[align] * (len(table.head) - 1)])} |"
    for row in table.rows:
        yield f"| {' | '.join(map(_escaped, row))} |"
    yield ""


def _fenced(text: str) -> Iterator[str]:
    fence = "`" * max(3, 1 + max(map(len, _FENCES.findall(text)), default=0))
    yield from (f"{fence}text", visible(text), fence, "")


def _escaped(text: str) -> str:
    """Return ``text`` as one line of Markdown that shows it as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))
