"""A report as one HTML page that asks nothing of any network: charts in it, styles in it, no scripts.

Everything that a model, a file or a person wrote is escaped. Knows nothing of other layouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from lmlab.lab.compare.charts import difference_chart, duel_chart, key, mean_chart
from lmlab.lab.compare.differences import Span, differences
from lmlab.lab.compare.divergences import divergence_lines
from lmlab.lab.compare.measures import Duel, Measure
from lmlab.lab.compare.method import method
from lmlab.lab.compare.report import PromptOf, Report, Weighed
from lmlab.lab.compare.tables import Table, duel_table, figure_notes, figure_table, mean_table, title_of, variant_tables
from lmlab.lab.compare.words import again, answer_facts, case_words, conclusions, headline
from lmlab.terminal_text import one_line, visible

_STYLE = Path(__file__).with_name("report.css")
# So few are shown open.
_OPEN = 3


def html_lines(report: Report) -> Iterator[str]:
    """Yield the whole page, line by line."""
    title = " against ".join(report.labels)
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    # Whatever might have slipped through could still load nothing and run nothing.
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{_escaped(title)}</title>"
    yield f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>"
    yield f"<h1>{' against '.join(_name(index, label) for index, label in enumerate(report.labels))}</h1>"
    yield f'<p class="quiet">{_escaped(headline(report).removeprefix(title + ": "))} · lmlab compare</p>'
    yield from _shown(report)
    yield "<h2>Method</h2>"
    for paragraph in method(report):
        yield f"<p>{_escaped(paragraph)}</p>"
    differing, same = variant_tables(report)
    yield "<h2>Variants</h2>"
    yield from _table(differing)
    yield from _table(same)
    yield "<h2>Results</h2>"
    for measure in report.measures:
        yield from _measure(measure, report)
    if report.prompts:
        yield "<h3>What the answers took</h3>"
        yield from _table(figure_table(report))
        yield from (f'<p class="note">{_escaped(note)}</p>' for note in figure_notes(report))
    for divergence in report.divergences:
        first, *rest = divergence_lines(divergence)
        yield f"<h3>Divergence: {_escaped(first)}</h3>"
        yield from (f"<p>{_escaped(line.strip())}</p>" for line in rest)
    if report.prompts:
        yield from _answers(report)
    yield "<h2>To do it again</h2>"
    yield from _table(Table(("", ""), tuple(again(report)), numeric=False))
    yield "</body>\n</html>"


def _shown(report: Report) -> Iterator[str]:
    found = list(conclusions(report))
    if found:
        yield '<div class="shown">'
        yield from (f'<p><span class="quiet">{_escaped(title)}.</span> {_escaped(said)}</p>' for title, said in found)
        yield "</div>"


def _measure(measure: Measure, report: Report) -> Iterator[str]:
    yield f"<h3>{_escaped(title_of(measure))}</h3>"
    yield mean_chart(measure, report.labels)
    if (means := mean_table(measure, report.labels)) is not None:
        yield from _table(means)
    for duel in measure.duels:
        yield duel_chart(duel, report.labels)
        yield difference_chart(duel, measure, report.labels)
    yield from _table(duel_table(measure, report.labels))
    yield from (f'<p class="note">{_escaped(note)}</p>' for note in measure.notes)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f'<div class="wide"><table{" class=" + chr(34) + "numbers" + chr(34) if table.numeric else ""}>'
    if any(table.head):
        yield f"<thead><tr>{''.join(f'<th>{_escaped(cell)}</th>' for cell in table.head)}</tr></thead>"
    yield "<tbody>"
    for name, *cells in table.rows:
        yield f"<tr><th>{_escaped(name)}</th>{''.join(f'<td>{_escaped(cell)}</td>' for cell in cells)}</tr>"
    yield "</tbody></table></div>"


def _answers(report: Report) -> Iterator[str]:
    yield "<h2>Answers</h2>"
    compared = (
        "The words in which an answer differs from the first variant's are marked; in the first, from the second's."
    )
    yield f'<p class="note">{compared}</p>'
    deciding = _deciding(report)
    if deciding is not None:
        measure, duel = deciding
        said = (("all", "all prompts"), ("0", f"{report.labels[0]} better"), ("1", f"{report.labels[1]} better"))
        for name, text in (*said, ("t", "tied")):
            checked = " checked" if name == "all" else ""
            yield f'<input class="filter" type="radio" name="only" id="only{name}"{checked}>'
            yield f'<label for="only{name}">{_escaped(text)}</label>'
        yield f'<span class="note">by {_escaped(title_of(measure))}</span>'
        yield '<div class="prompts">'
        for prompt in report.prompts:
            yield from _prompt(prompt, report, duel)
    else:
        yield '<div class="prompts">'
        for prompt in report.prompts:
            yield from _prompt(prompt, report, None)
    yield "</div>"


def _deciding(report: Report) -> tuple[Measure, Duel] | None:
    """Return by what prompts are sorted into won and lost: the first measure, where there are two variants."""
    if len(report.labels) != 2 or not report.measures:
        return None
    measure = report.measures[0]
    return measure, measure.duels[0]


def _prompt(prompt: PromptOf, report: Report, duel: Duel | None) -> Iterator[str]:
    kind, badge = _outcome(prompt, report, duel)
    is_open = " open" if len(report.prompts) <= _OPEN else ""
    yield f'<details class="prompt {kind}"{is_open}><summary><span class="number">{prompt.number}</span>'
    yield f'<span class="text">{_escaped(one_line(prompt.text))}</span>{badge}</summary><div class="inside">'
    named = "" if prompt.id is None else f"{prompt.id}"
    expected = "" if prompt.expected is None else f"expected: {one_line(prompt.expected)}"
    if named or expected:
        yield f'<p class="note">{_escaped(" · ".join(part for part in (named, expected) if part))}</p>'
    yield f'<pre dir="auto">\n{_escaped(prompt.text)}</pre>'
    for asked in prompt.asked:
        said = f"as {_escaped(_those_asked(prompt, asked, report))} got it"
        yield f'<details><summary class="note">{said}</summary><pre dir="auto">\n{_escaped(asked)}</pre></details>'
    for case in prompt.cases:
        if len(prompt.cases) > 1:
            yield f"<h4>Repeat {case.repeat + 1}</h4>"
        yield from _case(case, report)
    yield "</div></details>"


def _those_asked(prompt: PromptOf, asked: str, report: Report) -> str:
    """Return the variants that got the prompt in this way."""
    answers = [answer for case in prompt.cases for answer in case.answers if answer is not None]
    return ", ".join(report.labels[one] for one in sorted({each.variant for each in answers if each.asked == asked}))


def _outcome(prompt: PromptOf, report: Report, duel: Duel | None) -> tuple[str, str]:
    """Return the class and the badge of a prompt."""
    difference = None if duel is None else duel.differences.get(prompt.question)
    if difference is None:
        return "", ""
    if not difference:
        return "tied", f'<span class="badge">{key("t", "tied")}</span>'
    better = 0 if difference > 0 else 1
    return f"won{better}", f'<span class="badge">{key(better, report.labels[better])}</span>'


def _case(case: Weighed, report: Report) -> Iterator[str]:
    texts = ["" if answer is None else answer.text for answer in case.answers]
    yield '<div class="answers">'
    for index, (answer, label) in enumerate(zip(case.answers, report.labels, strict=True)):
        facts = "not answered" if answer is None else " · ".join(answer_facts(answer))
        yield f'<div class="v{index}"><h4>{_name(index, label)}</h4><p class="quiet">{_escaped(facts)}</p>'
        if texts[index]:
            found = differences(texts[0], texts[index or 1])
            spans = found.right if index else found.left
            yield f'<pre dir="auto">\n{"".join(map(_span, spans))}</pre>'
            if not found.exact:
                yield '<p class="note">so much differs that whole lines are compared</p>'
        yield "</div>"
    yield "</div>"
    yield from (f'<p class="note">{_escaped(said)}</p>' for said in case_words(case, report))


def _span(span: Span) -> str:
    return f"<mark>{_escaped(span.text)}</mark>" if span.changed else _escaped(span.text)


def _name(index: int, label: str) -> str:
    return f'<i class="key k{index}"></i>{_escaped(label)}'


def _escaped(text: str) -> str:
    """Return ``text`` as it is to be seen: no markup, and nothing that could reorder the page's own words."""
    return escape(visible(text))
