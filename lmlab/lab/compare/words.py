"""What a report says in words, however it is laid out: conclusions, what was said of an answer, how to do it again."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.report import Report, Weighed
from lmlab.lab.compare.tables import NOT_KNOWN, conclusion, title_of
from lmlab.terminal_text import one_line


def headline(report: Report) -> str:
    count = len(report.prompts)
    said = (
        f"{' against '.join(report.labels)}: {f'{count:,}' if count else 'no'} {'prompt' if count == 1 else 'prompts'}"
    )
    return said + (f", {report.repeats} times each" if report.repeats > 1 else "")


def conclusions(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what is shown of each pair by each measure, and the measure's name before it."""
    for measure in report.measures:
        for duel in measure.duels:
            yield title_of(measure), conclusion(duel, measure, report.labels)


def again(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what is needed to make the report again, each with its name."""
    header = report.setup.header
    yield "command", header["command"]
    yield "versions", ", ".join(f"{name} {version}" for name, version in header["versions"].items())
    yield "machine", header["machine"]
    yield "prompts", header["input"]
    yield "begun", header["at"]
    yield "record", f"{header['id']}: {report.setup.record}"


def answer_facts(answer: Answer) -> Iterator[str]:
    """Yield what is to be known of one answer besides its text."""
    if answer.error is not None:
        yield f"failed: {one_line(answer.error)}"
        return
    yield "1 token" if answer.tokens == 1 else f"{answer.tokens:,} tokens"
    if answer.reason != "stop":
        yield f"ended: {answer.reason}"
    if answer.correct is not None:
        read = "no answer" if answer.answer is None else one_line(answer.answer, 80)
        yield f"{'correct' if answer.correct else 'not correct'}: {read}"
    if answer.candidates > 1:
        yield f"best of {answer.candidates}: {one_line(answer.why, 120)}"


def case_words(case: Weighed, report: Report) -> Iterator[str]:
    """Yield what was said of the answers to one case."""
    labels = dict(zip(report.runs, report.labels, strict=True))
    if case.vote is not None:
        winner = labels.get(case.vote.winner or "")
        yield "vote: " + (f"{winner} is best" if winner else {"tie": "a tie", "bad": "all bad"}[case.vote.choice])
    for verdict in case.verdicts:
        first, second = labels[verdict.runs[0]], labels[verdict.runs[1]]
        if verdict.share is None:
            said = f"{first} and {second} were not compared"
        elif verdict.share == 0.5:
            said = f"{first} and {second} tie" + (", for the two orders disagree" if verdict.swayed else "")
        else:
            said = f"{first if verdict.share > 0.5 else second} is better"
        yield f"judge: {said}" + (f" ({one_line(verdict.note, 160)})" if verdict.note and not verdict.asked else "")
    for name, scores in case.scores.items():
        told = [NOT_KNOWN if one is None or one.score is None else f"{one.score:.4g}" for one in scores]
        yield f"{one_line(name, 60)}: {' against '.join(told)}"
