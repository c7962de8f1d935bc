from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.errors import PromptError, UsageError
from lmlab.prompting import Answer, Example, Input, load_template
from lmlab.sampling import SamplingParams

WHOLE = """\
---
name: word-problem
description: Solve it.
inputs:
  question: {required: true, description: The problem.}
  hint: {required: false, default: none}
examples:
  - question: 1 + 1?
    reasoning: One and one.
    answer: "2"
  - question: 2 + 2?
    answer: "4"
cot: Let's think step by step.
answer: {regex: 'answer is (\\d+)', check: number}
sampling: {temperature: 0.7, stop: [END]}
stop: ["\\nUser:"]
---
Solve it. Hint: {{ hint }}

{% if question %}
Question: {{ question }}
{% endif %}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "task.md"
    path.write_text(text, encoding="utf-8")
    return path


def front(folder: Path, lines: str, body: str = "Hello\n") -> Path:
    return write(folder, f"---\nname: task\ndescription: A task.\n{lines}---\n{body}")


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    template = load_template(write(tmp_path, WHOLE))

    assert (template.name, template.description, template.cot) == (
        "word-problem",
        "Solve it.",
        "Let's think step by step.",
    )
    assert template.inputs == {
        "question": Input(description="The problem."),
        "hint": Input(required=False, default="none"),
    }
    assert template.examples == (
        Example(question="1 + 1?", reasoning="One and one.", answer="2"),
        Example(question="2 + 2?", answer="4"),
    )
    assert template.examples[1].inputs == {"question": "2 + 2?"}
    assert template.answer == Answer(regex=r"answer is (\d+)", check="number")
    assert template.sampling == SamplingParams(temperature=0.7, stop=("END",))
    assert template.stop == ("\nUser:",)


def test_rendering(tmp_path: Path) -> None:
    template = load_template(write(tmp_path, WHOLE))
    assert template.render({"question": "{{ 6 }} < 7?"}) == "Solve it. Hint: none\n\nQuestion: {{ 6 }} < 7?\n"
    assert template.render({"question": "", "hint": "é"}) == "Solve it. Hint: é\n\n"


def test_little_is_needed_and_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "task.md"
    path.write_bytes(
        b"\xef\xbb\xbf---\r\nname: task\r\ndescription: A task.\r\n---\r\nHello\r\n\r\n---\r\nand a rule\r\n"
    )
    template = load_template(path)
    assert template.render({}) == "Hello\n\n---\nand a rule"
    assert template.sampling == SamplingParams()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("exmples: []\n", "task.md, line 4: unknown key 'exmples': did you mean 'examples'?"),
        ("colour: red\n", "task.md, line 4: unknown key 'colour': there are name, description, inputs"),
        ("body: x\n", "task.md, line 4: unknown key 'body'"),
        (
            "inputs:\n  q: {requird: true}\n",
            "task.md, line 5: unknown key 'inputs.q.requird': did you mean 'required'?",
        ),
        ("answer:\n  regex: x\n  chek: number\n", "task.md, line 6: unknown key 'answer.chek': did you mean 'check'?"),
        ("answer: {check: number}\n", "task.md, line 4: 'answer.regex' is missing"),
        ("answer: {regex: x, check: maybe}\n", "task.md, line 4: answer.check: input should be 'exact', 'number' or"),
        ("inputs:\n  q:\n    required: 3\n", "task.md, line 6: inputs.q.required: input should be a valid boolean"),
        ("examples:\n  - answer: 2\n", "task.md, line 5: examples.0.answer: input should be a valid string"),
        ("examples:\n  - q: x\n    answer: y\n", "task.md, line 5: the example gives 'q', which is not among inputs"),
        ("sampling:\n  temperature: -1\n", "task.md, line 4: sampling: temperature -1: give a number from 0 to 100"),
        ("sampling: {temprature: 1}\n", "task.md, line 4: sampling: unknown sampling parameter 'temprature'"),
        ("sampling: hot\n", "task.md, line 4: sampling: write sampling as keys and values"),
        ("stop: END\n", "task.md, line 4: stop: input should be a valid tuple"),
        ("name: other\n", "task.md, line 4: 'name' is there twice; keep one"),
        ("cot: [1\n", "task.md, line 5: the front matter is not valid YAML"),
        ("cot: *nowhere\n", "task.md, line 4: the front matter is not valid YAML"),
        ("cot: !!python/object:os.system x\n", "task.md, line 4: the front matter is not valid YAML"),
        ("cot: \x07\n", "task.md: the front matter is not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, lines: str, problem: str) -> None:
    with pytest.raises(PromptError) as caught:
        load_template(front(tmp_path, lines))
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "task.md, line 1: begin with front matter"),
        ("Hello\n", "task.md, line 1: begin with front matter"),
        ("---\nname: task\n", "task.md, line 1: begin with front matter"),
        ("---\n---\nHello\n", "task.md, line 2: write the front matter as keys and values"),
        ("---\n- a\n---\nHello\n", "task.md, line 2: write the front matter as keys and values"),
        ("---\ndescription: x\n---\n", "task.md, line 1: 'name' is missing"),
        ("---\nname: My task\ndescription: x\n---\n", "task.md, line 2: name: string should match pattern"),
    ],
)
def test_a_file_without_sound_front_matter_is_told(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PromptError) as caught:
        load_template(write(tmp_path, text))
    assert str(caught.value).startswith(problem)


def test_mistakes_of_the_body_are_told(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"^task\.md, line 6: .*end of template"):
        load_template(front(tmp_path, "", "one\n{% if x %}\n"))
    with pytest.raises(PromptError, match=r"^task\.md, line 6: No filter named 'shout'"):
        load_template(front(tmp_path, "", "one\n{{ 'x' | shout }}\n"))
    with pytest.raises(PromptError, match=r"^task\.md, line 5: the body uses 'qestion': add it to inputs"):
        load_template(front(tmp_path, "", "{{ qestion }}"))


def test_variables_must_be_those_of_the_file(tmp_path: Path) -> None:
    template = load_template(write(tmp_path, WHOLE))
    with pytest.raises(PromptError, match=r"^word-problem needs question: give --var question="):
        template.render({})
    with pytest.raises(PromptError, match=r"^word-problem has no input 'x': its inputs are question, hint$"):
        template.render({"question": "", "x": ""})


@pytest.mark.parametrize("body", ["{{ q.__class__ }}", "{{ q.nothing }}", "{{ q + 1 }}", "{{ 1 // 0 }}"])
def test_a_body_that_fails_is_told_and_cannot_reach_out(tmp_path: Path, body: str) -> None:
    template = load_template(front(tmp_path, "inputs: {q: {}}\n", body))
    with pytest.raises(PromptError, match=r"^task could not be rendered: "):
        template.render({"q": "x"})


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such prompt template"):
        load_template(tmp_path / "none.md")
    with pytest.raises(UsageError, match="cannot read the prompt template"):
        load_template(tmp_path)
    (tmp_path / "latin.md").write_bytes(b"---\nname: gr\xfcn\n---\n")
    with pytest.raises(UsageError, match="cannot read the prompt template"):
        load_template(tmp_path / "latin.md")
