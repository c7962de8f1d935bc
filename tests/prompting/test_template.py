from __future__ import annotations

from itertools import pairwise
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

# Ten lists, each four times the one before it: a million values.
ALIASES = (
    "[&a [x], " + ", ".join(f"&{name} [{', '.join([f'*{one}'] * 4)}]" for one, name in pairwise("abcdefghijk")) + "]"
)


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


def test_little_is_needed_and_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "task.md"
    path.write_bytes(
        b"\xef\xbb\xbf---\r\nname: task\r\ndescription: A task.\r\n---\r\nHello\r\n\r\n---\r\nand a rule\r\n"
    )
    template = load_template(path)
    assert template.body == "Hello\n\n---\nand a rule\n"
    assert (template.technique, template.shots, template.style, template.answer) == ("zero-shot", None, "turns", None)
    assert template.sampling == SamplingParams()


def test_what_is_used_by_default_and_where_things_stand(tmp_path: Path) -> None:
    lines = "technique: few-shot\nshots: 2\nstyle: inline\nanswer: {format: 'It is {{ answer }}'}\n"
    template = load_template(
        front(tmp_path, lines + "inputs: {q: {}}\nexamples:\n  - {q: a, answer: b}\n", "{{ q }}\n")
    )
    assert (template.technique, template.shots, template.style) == ("few-shot", 2, "inline")
    assert template.answer == Answer(format="It is {{ answer }}", regex=None, check="exact")
    assert (template.file, template.body_line, template.example_lines) == ("task.md", 12, (10,))
    assert (template.given, template.defaults) == ({"q"}, {"q": ""})


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
        (
            "answer: {regex: x, check: maybe}\n",
            "task.md, line 4: answer, check: 'maybe' is none of them: there are exact, number, ",
        ),
        ("answer:\n  regex: '(x'\n", "task.md, line 5: this regular expression is not valid: missing ), "),
        ("answer:\n  regex: (x+)+y\n", "task.md, line 5: this regular expression repeats a repeat"),
        ("answer:\n  check: exact\n  format: x\n", "task.md, line 6: format is to use 'answer' and nothing else"),
        ("answer:\n  format: '{{ answer }} {{ q }}'\n", "task.md, line 5: format is to use 'answer' and nothing else"),
        ("answer:\n  format: '{{ answer'\n", "task.md, line 5: format: unexpected end of template"),
        ("technique: five-shot\n", "task.md, line 4: technique: 'five-shot' is none of them: did you mean "),
        ("shots: 0\n", "task.md, line 4: shots: give a whole number from 1"),
        ("shots: '2'\n", "task.md, line 4: shots: give a whole number from 1"),
        ("style: chat\n", "task.md, line 4: style: 'chat' is none of them: there are turns, inline"),
        ("cot: ' '\n", "task.md, line 4: cot: it is empty: write a sentence, or leave the key out"),
        ("inputs:\n  answer: {}\n", "task.md, line 5: an input cannot be called 'answer': in examples that is a key"),
        ("inputs:\n  my-text: {}\n", "task.md, line 5: an input cannot be called 'my-text': use letters"),
        ("inputs:\n  range: {}\n", "task.md, line 5: an input cannot be called 'range': use letters"),
        ("body_line: 3\n", "task.md, line 4: unknown key 'body_line': there are name"),
        ("inputs:\n  q:\n    required: 3\n", "task.md, line 6: input 'q', required: give true or false"),
        ("examples:\n  - answer: 2\n", 'task.md, line 5: example 1, answer: give a text: put it in quotes, "2"'),
        ("examples:\n  - q: x\n    answer: y\n", "task.md, line 5: the example gives 'q', which is not among inputs"),
        ("sampling:\n  temperature: -1\n", "task.md, line 5: sampling: temperature -1: give a number from 0 to 100"),
        ("sampling: {temprature: 1}\n", "task.md, line 4: unknown sampling parameter 'temprature': did you mean 'temp"),
        ("sampling:\n  temp: 5\n", "task.md, line 5: unknown sampling parameter 'temp': did you mean 'temperature'?"),
        ("sampling: {top-p: 1}\n", "task.md, line 4: unknown sampling parameter 'top-p': did you mean 'top_p'?"),
        ("sampling: {x: 1}\n", "task.md, line 4: unknown sampling parameter 'x': there are "),
        ("inputs: [text]\n", "task.md, line 4: inputs: write each on a line of its own with a colon, such as text: {}"),
        ("inputs: {q: text}\n", "task.md, line 4: input 'q': write keys and values, such as {required: false, "),
        ("inputs: {q: {default: 3}}\n", "task.md, line 4: input 'q', default: give a text: put it in quotes, \"3\""),
        ("examples: {a: b}\n", "task.md, line 4: examples: write a list, each example beginning with -"),
        ("examples: [a]\n", "task.md, line 4: example 1: write keys and values: the inputs, and the answer"),
        ("examples: [{answer: no}]\n", 'task.md, line 4: example 1, answer: give a text: put it in quotes, "false"'),
        ("answer: x\n", "task.md, line 4: answer: write keys and values, such as {check: exact}"),
        ("answer: {format: '{{ 9**9**9 }}{{ answer }}'}\n", "task.md, line 4: format cannot be rendered: a power this"),
        ("sampling: hot\n", "task.md, line 4: sampling: write sampling as keys and values"),
        ("stop: END\n", 'task.md, line 4: stop: write a list of texts, such as ["'),
        ("name: other\n", "task.md, line 4: 'name' is there twice; keep one"),
        ("cot: [1\n", "task.md, line 5: the front matter is not valid YAML"),
        ("cot: *nowhere\n", "task.md, line 4: the front matter is not valid YAML"),
        ("cot: !!python/object:os.system x\n", "task.md, line 4: the front matter is not valid YAML"),
        ("cot: \x07\n", "task.md, line 4: the front matter is not valid YAML: character U+0007 is not allowed"),
        ("cot: &a [*a]\n", "task.md, line 2: the front matter is nested too deeply, or holds too much"),
        (
            "inputs: {q: {}}\nexamples:\n  - {q: .nan, answer: a}\n",
            "task.md, line 6: 'q': give a text, a number, a list",
        ),
        (
            "inputs: {q: {}}\nexamples:\n  - {answer: a, q: [!!binary //79]}\n",
            "task.md, line 6: 'q': give a text, a number, a list",
        ),
        ("stop: " + ALIASES + "\n", "task.md, line 2: the front matter is nested too deeply, or holds too much"),
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
        ("---\ndescription: x\n---\n", "task.md, line 1: name is missing"),
        (
            "---\nname: My task\ndescription: x\n---\n",
            "task.md, line 2: name: 'My task' has characters that no name may have: use small letters, ",
        ),
    ],
)
def test_a_file_without_sound_front_matter_is_told(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(PromptError) as caught:
        load_template(write(tmp_path, text))
    assert str(caught.value).startswith(problem)


def test_mistakes_of_the_body_are_told(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"^task\.md, line 6: .*end of template"):
        load_template(front(tmp_path, "", "one\n{% if x %}\n"))
    with pytest.raises(PromptError, match=r"^task\.md, line 6: there is no filter 'shout'"):
        load_template(front(tmp_path, "", "one\n{{ 'x' | shout }}\n"))
    with pytest.raises(PromptError, match=r"^task\.md, line 5: there is nothing after the front matter"):
        load_template(front(tmp_path, "", "\n"))


@pytest.mark.parametrize("body", ["{{ q.__class__ }}", "{{ q['__class__'] }}", "{{ q._x }}"])
def test_private_attributes_are_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(PromptError, match=r"^task\.md, line 7: '_.*' may not be read"):
        load_template(front(tmp_path, "inputs: {q: {}}\n", f"one\n{body}"))


def test_a_variable_that_nobody_gives_is_told_where_it_stands(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"^task\.md, line 7: the body uses 'qestion': add it to inputs$"):
        load_template(front(tmp_path, "", "one\n\n{{ qestion }}\n"))
    assert load_template(front(tmp_path, "", "{% for i in range(2) %}{{ i }}{% endfor %}")).inputs == {}


def test_volatile_things_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="there is no filter 'random'"):
        load_template(front(tmp_path, "", "{{ [1, 2] | random }}"))
    with pytest.raises(PromptError, match="the body uses 'lipsum'"):
        load_template(front(tmp_path, "", "{{ lipsum() }}"))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such prompt template"):
        load_template(tmp_path / "none.md")
    with pytest.raises(UsageError, match="cannot read the prompt template"):
        load_template(tmp_path)
    (tmp_path / "latin.md").write_bytes(b"---\nname: gr\xfcn\n---\n")
    with pytest.raises(UsageError, match="cannot read the prompt template"):
        load_template(tmp_path / "latin.md")
    with (tmp_path / "endless.md").open("wb") as endless:
        endless.truncate(16 * 2**20 + 1)
    with pytest.raises(UsageError, match="longer than 16,777,216 characters: that is no prompt template"):
        load_template(tmp_path / "endless.md")
