"""Reads a prompt template file and says all that keeps it from being used. Knows nothing of how it is rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2 import nodes
from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from lmlab.errors import PromptError, UsageError
from lmlab.prompting.explaining import explain, unknown_sampling
from lmlab.prompting.front_matter import FrontMatter, NotFrontMatter, parse
from lmlab.prompting.language import environment, refusals
from lmlab.prompting.language import parse as parse_body
from lmlab.prompting.packaged import packaged_folder
from lmlab.prompting.parts import Part, variables
from lmlab.prompting.regexes import regex_problem
from lmlab.prompting.sandbox import Compiled, RenderingError
from lmlab.prompting.template import KEYS, PLACES, Answer, PromptTemplate

_OF_AN_EXAMPLE = ("answer", "reasoning")
_LIMIT = 16 * 2**20


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong, in a file's ``line``."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read: ``matter`` and ``template`` are None when they are not sound."""

    matter: FrontMatter | None
    template: PromptTemplate | None
    problems: tuple[Problem, ...]


def load_template(path: Path) -> PromptTemplate:
    """Read and check the file. Raises UsageError when it cannot be read, PromptError with the line of what is wrong."""
    source = read_source(path)
    if source.problems or source.template is None:
        problem = source.problems[0]
        raise PromptError(f"{path.name}, line {problem.line}: {problem.message}")
    return source.template


def read_source(path: Path) -> Source:
    """Read the file and everything that is wrong with it, by line. Raises UsageError when it cannot be read."""
    try:
        matter = parse(read_text(path))
    except NotFrontMatter as error:
        return Source(None, None, (Problem(error.line, str(error)),))
    problems = [Problem(line, message) for line, message in matter.problems]
    problems += _problems_of_the_body(matter)
    template = None
    declared = {key: value for key, value in matter.values.items() if key not in PLACES}
    for key, message in unknown_sampling(declared.get("sampling")):
        problems.append(Problem(matter.line(("sampling", key)), message))
        # The other parameters are still looked at.
        declared["sampling"] = {name: value for name, value in declared["sampling"].items() if str(name) != key}
    places = {
        "body": matter.body,
        "file": path.name,
        "body_line": matter.body_line,
        "example_lines": matter.items("examples"),
        "packaged": path.parent == packaged_folder(),
    }
    for key in sorted(PLACES & matter.values.keys()):
        problems.append(Problem(matter.line((key,)), f"unknown key {key!r}: there are {', '.join(KEYS)}"))
    try:
        template = PromptTemplate.model_validate({**declared, **places})
    except ValidationError as error:
        problems += [_explain(detail, matter) for detail in error.errors(include_url=False)]
    else:
        problems += _problems_of_the_values(template, matter)
    return Source(matter, template, tuple(sorted(set(problems))))


def read_text(path: Path) -> str:
    """Raises UsageError when there is no such file, or it is no text."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            text = stream.read(_LIMIT + 1)
    except FileNotFoundError:
        raise UsageError(f"no such prompt template: {path}") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"cannot read the prompt template {path}: {error}") from None
    if len(text) > _LIMIT:
        raise UsageError(f"{path} is longer than {_LIMIT:,} characters: that is no prompt template")
    return text


def _problems_of_the_body(matter: FrontMatter) -> Iterator[Problem]:
    if not matter.body.strip():
        yield Problem(matter.body_line, "there is nothing after the front matter: write the prompt there")
    try:
        tree = parse_body(matter.body)
        refused = sorted(set(refusals(tree)))
        if not refused:
            Compiled(matter.body)
    except jinja2.TemplateSyntaxError as error:
        yield Problem(matter.body_line + error.lineno - 1, str(error.message))
        return
    if refused:
        yield from (Problem(matter.body_line + line - 1, message) for line, message in refused)
        return
    for access in tree.find_all((nodes.Getattr, nodes.Getitem)):
        if name := _private_name(access):
            line = matter.body_line + access.lineno - 1
            yield Problem(line, f"{name!r} may not be read: a template sees only what it is given")
    yield from _undeclared(matter)


def _undeclared(matter: FrontMatter) -> Iterator[Problem]:
    inputs = matter.values.get("inputs") or {}
    # What is no mapping is told as such.
    known = set(inputs) if isinstance(inputs, dict) else variables(matter.body)
    for name in sorted(variables(matter.body) - known):
        yield Problem(_line_of(name, matter), f"the body uses {name!r}: add it to inputs")


def _private_name(access: nodes.Node) -> str | None:
    name = access.attr if isinstance(access, nodes.Getattr) else None
    if isinstance(access, nodes.Getitem) and isinstance(access.arg, nodes.Const):
        name = access.arg.value
    return name if isinstance(name, str) and name.startswith("_") else None


def _problems_of_the_values(template: PromptTemplate, matter: FrontMatter) -> Iterator[Problem]:
    yield from _problems_of_inputs(template, matter)
    yield from _problems_of_examples(template, matter)
    if template.answer is not None:
        yield from _problems_of_answer(template.answer, matter)


def _problems_of_inputs(template: PromptTemplate, matter: FrontMatter) -> Iterator[Problem]:
    for name in template.inputs:
        line = matter.line(("inputs", name))
        if name in _OF_AN_EXAMPLE:
            yield Problem(line, f"an input cannot be called {name!r}: in examples that is a key of its own")
        elif not name.isidentifier() or name.startswith("_") or name in environment().globals:
            yield Problem(line, f"an input cannot be called {name!r}: use letters, digits and _, a letter first")


def _line_of(variable: str, matter: FrontMatter) -> int:
    names = parse_body(matter.body).find_all(nodes.Name)
    return matter.body_line + min((name.lineno for name in names if name.name == variable), default=1) - 1


def _problems_of_examples(template: PromptTemplate, matter: FrontMatter) -> Iterator[Problem]:
    for index, example in enumerate(template.examples):
        for key, value in example.inputs.items():
            line = matter.line(("examples", index, key))
            if key not in template.inputs:
                yield Problem(line, f"the example gives {key!r}, which is not among inputs")
            try:
                json.dumps(to_jsonable_python(value), allow_nan=False)
            except ValueError:
                yield Problem(line, f"{key!r}: give a text, a number, a list or a mapping, as JSON can hold it")
        for key, given in template.inputs.items():
            if given.required and example.inputs.get(key) is None:
                yield Problem(matter.line(("examples", index)), f"the example gives no {key!r}")


def _problems_of_answer(answer: Answer, matter: FrontMatter) -> Iterator[Problem]:
    if answer.regex is not None and (problem := regex_problem(answer.regex)):
        yield Problem(matter.line(("answer", "regex")), problem)
    if answer.format is None:
        return
    line = matter.line(("answer", "format"))
    try:
        form = Part.of(answer.format)
        form.beginning({})
    except jinja2.TemplateSyntaxError as error:
        yield Problem(line, f"format: {error.message}")
        return
    except RenderingError as error:
        yield Problem(line, f"format cannot be rendered: {error}")
        return
    if form.names != {"answer"}:
        yield Problem(line, "format is to use 'answer' and nothing else, as in 'The answer is {{ answer }}.'")


def _explain(problem: ErrorDetails, matter: FrontMatter) -> Problem:
    where = problem["loc"]
    message = explain(problem)
    if where == ("sampling",):
        # It is checked as a whole, and its message begins with the key.
        where = (*where, message.removeprefix("sampling: ").partition(" ")[0])
    return Problem(matter.line(where), message)
