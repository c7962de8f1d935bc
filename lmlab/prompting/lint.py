"""Everything wrong with a prompt template file, also what would only show when it is used. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmlab.prompting.answers import AnswerForm
from lmlab.prompting.checks import check_answer
from lmlab.prompting.front_matter import FrontMatter
from lmlab.prompting.loading import Problem, read_source
from lmlab.prompting.parts import Part, split, variables
from lmlab.prompting.sandbox import RenderingError
from lmlab.prompting.template import Answer, Example, PromptTemplate
from lmlab.terminal_text import one_line

_STAND_IN = "text"
"""Stands for an input that nothing is known of."""
_SHOWN = 60


def check_file(path: Path) -> tuple[Problem, ...]:
    """Return all problems of the file, by line. Raises UsageError when it cannot be read."""
    source = read_source(path)
    if source.problems or source.template is None or source.matter is None:
        return source.problems
    template, matter = source.template, source.matter
    found = [
        *_unused_inputs(template, matter),
        *_too_few_examples(template, matter),
        *_same_examples(template),
        *_failing_renderings(template),
        *_failing_answers(template),
    ]
    return tuple(sorted(set(found)))


def _unused_inputs(template: PromptTemplate, matter: FrontMatter) -> Iterator[Problem]:
    for name in sorted(template.inputs.keys() - variables(template.body)):
        yield Problem(matter.line(("inputs", name)), f"the body does not use the input {name!r}")


def _too_few_examples(template: PromptTemplate, matter: FrontMatter) -> Iterator[Problem]:
    """The template's own technique must have the examples it is to show."""
    shown = template.technique in ("few-shot", "few-shot-cot")
    reasons = template.technique == "few-shot-cot"
    pool = sum(1 for example in template.examples if example.reasoning or not reasons)
    kind = "examples with reasoning" if reasons else "examples"
    if template.shots is not None and template.shots > pool:
        yield Problem(matter.line(("shots",)), f"shots is {template.shots}, and there are {pool} {kind}")
    elif shown and not pool:
        yield Problem(matter.line(("technique",)), f"{template.technique} shows examples, and there are no {kind}")


def _same_examples(template: PromptTemplate) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for line, example in zip(template.example_lines, template.examples, strict=True):
        key = repr(sorted((name, " ".join(str(value).split())) for name, value in example.inputs.items()))
        if key in seen:
            yield Problem(line, f"this example has the same inputs as the one on line {seen[key]}")
        seen.setdefault(key, line)


def _failing_renderings(template: PromptTemplate) -> Iterator[Problem]:
    instruction, asked = split(template.body, template.given)
    stand_ins = {name: given.default if not given.required else _STAND_IN for name, given in template.inputs.items()}
    for example in template.examples:
        yield from _rendering(template, asked, {**template.defaults, **example.inputs}, only_forbidden=False)
    # Nothing is known of what these will hold, so only what no value can mend is wrong.
    for part in (instruction, asked):
        if part is not None:
            yield from _rendering(template, part, stand_ins, only_forbidden=True)


def _rendering(
    template: PromptTemplate, part: Part, values: dict[str, Any], *, only_forbidden: bool
) -> Iterator[Problem]:
    try:
        part.render(values)
    except RenderingError as error:
        if error.forbidden or not only_forbidden:
            yield Problem(template.body_line + part.line + (error.line or 1) - 2, f"it cannot be rendered: {error}")


def _failing_answers(template: PromptTemplate) -> Iterator[Problem]:
    """Each example's answer, written as the format has it, must be read back as what it is."""
    answer = template.answer or Answer()
    for line, example in zip(template.example_lines, template.examples, strict=True):
        if problem := _failing_answer(answer, example):
            yield Problem(line, problem)


def _failing_answer(answer: Answer, example: Example) -> str | None:
    shown = repr(one_line(example.answer, _SHOWN))
    if not check_answer(answer.check, example.answer, example.answer):
        return f"the answer {shown} fails its own check, {answer.check}"
    for reasoning in {None, example.reasoning}:
        form = AnswerForm(answer, reasons=reasoning is not None)
        try:
            written = form.write(example.answer)
        except RenderingError as error:
            return f"answer.format cannot be rendered with {shown}: {error}"
        found = form.read(f"{reasoning}\n{written}" if reasoning else written, "")
        if found is None:
            return f"answer.regex finds no answer in {one_line(written, _SHOWN)!r}"
        if not check_answer(answer.check, found, example.answer):
            return (
                f"the answer {shown} is read back as {one_line(found, _SHOWN)!r}, which fails the check {answer.check}"
            )
    return None
