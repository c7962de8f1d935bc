from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.errors import UsageError
from lmlab.prompting import check_file, load_template, sandbox

HEAD = "---\nname: task\ndescription: A task.\ninputs: {q: {}}\n"


def check(folder: Path, text: str) -> list[tuple[int, str]]:
    path = folder / "task.md"
    path.write_text(text, encoding="utf-8")
    return [(problem.line, problem.message) for problem in check_file(path)]


def test_a_sound_file_has_no_problems(tmp_path: Path) -> None:
    examples = "examples:\n  - {q: 1, answer: '1'}\n  - {q: 2, answer: '2', reasoning: Two.}\nanswer: {check: number}\n"
    assert check(tmp_path, f"{HEAD}{examples}---\nDo.\n\n{{{{ q }}}}\n") == []


def test_every_problem_is_told_in_order_of_lines(tmp_path: Path) -> None:
    text = f"{HEAD}colour: red\nname: other\nshots: 0\nanswer: {{regx: x, check: y}}\n---\n\n{{% if q %}}\n"
    assert [line for line, _ in check(tmp_path, text)] == [5, 6, 7, 8, 8, 11]
    text = f"{HEAD}examples:\n  - {{x: 1, answer: a}}\nanswer:\n  regex: (\n  format: x\n---\n{{{{ z }}}}{{{{ q.__a__ }}}}\n"
    assert [line for line, _ in check(tmp_path, text)] == [6, 6, 8, 9, 11, 11]


@pytest.mark.parametrize("text", ["", "Hello\n", "---\nname: [\n---\nHello\n"])
def test_a_file_without_front_matter_is_a_problem(tmp_path: Path, text: str) -> None:
    assert len(check(tmp_path, text)) == 1


@pytest.mark.parametrize(
    ("front", "line", "message"),
    [
        (
            "examples:\n  - {q: a, answer: b}\n  - {q: ' a', answer: c}\n",
            7,
            "this example has the same inputs as the one on line 6",
        ),
        ("technique: few-shot\n", 5, "few-shot shows examples, and there are no examples"),
        ("shots: 2\nexamples:\n  - {q: a, answer: b}\n", 5, "shots is 2, and there are 1 examples"),
        (
            "technique: few-shot-cot\nshots: 1\nexamples:\n  - {q: a, answer: b}\n",
            6,
            "shots is 1, and there are 0 examples with reasoning",
        ),
        (
            "technique: few-shot-cot\nexamples:\n  - {q: a, answer: b}\n",
            5,
            "few-shot-cot shows examples, and there are no examples with reasoning",
        ),
        (
            "answer: {check: number}\nexamples:\n  - {q: a, answer: many}\n",
            7,
            "the answer 'many' fails its own check, number",
        ),
        ("answer: {regex: 'is (.*)'}\nexamples:\n  - {q: a, answer: b}\n", 7, "answer.regex finds no answer in 'b'"),
        (
            "answer: {regex: 'is (.)', format: 'It is {{ answer }}'}\nexamples:\n  - {q: a, answer: bc}\n",
            7,
            "the answer 'bc' is read back as 'b', which fails the check exact",
        ),
        (
            "answer: {format: 'It is {{ answer }}'}\nexamples:\n  - {q: a, answer: b}\n",
            7,
            "the answer 'b' is read back as 'It is b', which fails the check exact",
        ),
        (
            "answer: {format: '{{ answer.x }}'}\nexamples:\n  - {q: a, answer: b}\n",
            7,
            "answer.format cannot be rendered with 'b': 'str object' has no attribute 'x'",
        ),
    ],
)
def test_what_would_show_only_in_use(tmp_path: Path, front: str, line: int, message: str) -> None:
    text = f"{HEAD}{front}---\n{{{{ q }}}}\n"
    assert check(tmp_path, text) == [(line, message)]
    # None of it keeps the template from being used in another way.
    assert load_template(tmp_path / "task.md").name == "task"


def test_an_input_that_is_not_used(tmp_path: Path) -> None:
    assert check(tmp_path, f"{HEAD}---\nHello\n") == [(4, "the body does not use the input 'q'")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{{ q['__class__'[:9]] }}", "'__class__' may not be read of str"),
        ("{% set x = [1] %}{{ x.append(q) }}", "'append' may not be read of list in a template: there is count, index"),
        ("{{ q * 9999999 }}", "it makes over 8,000,000 characters"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{{ q }}{% endfor %}",
            "took over 0.05 s and was",
        ),
    ],
)
def test_what_no_value_can_mend_shows_without_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    monkeypatch.setattr(sandbox, "TIME_LIMIT_S", 0.05)
    ((line, found),) = check(tmp_path, f"{HEAD}---\nDo.\n\n{body}\n")
    assert line == 8
    assert message in found


def test_an_example_that_cannot_be_rendered(tmp_path: Path) -> None:
    examples = "examples:\n  - {q: 1, answer: a}\n  - {q: x, answer: a}\n"
    ((line, found),) = check(tmp_path, f"{HEAD}{examples}---\nDo.\n\n{{{{ q + 1 }}}}\n")
    assert (line, found) == (11, 'it cannot be rendered: can only concatenate str (not "int") to str')
    # Without examples nothing is known of what q will be.
    assert check(tmp_path, f"{HEAD}---\nDo.\n\n{{{{ q + 1 }}}}\n") == []


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such prompt template"):
        check_file(tmp_path / "none.md")
