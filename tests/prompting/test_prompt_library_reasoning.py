"""The library's templates for reasoning, code, facts, extraction and judging: what they send, and what they read back."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any

import pytest
from golden_renderings import assert_stopped_after_the_answer, check_golden

from lmlab.prompting import Approach, Renderer, Technique, check_file, find_template, load

ROWS: dict[str, dict[str, str]] = {
    "code": {"description": "A function gcd(a, b) that returns the greatest common divisor of two positive integers."},
    "explain-code": {"code": 'for line in open("log.txt"):\n    if "error" in line:\n        print(line)'},
    "extract-entities": {"text": "In June 2020 Olga Petrova opened the Nordlicht theatre in Riga."},
    "extract-json": {"fields": "name, job, city", "text": "Elena Rossi works as a nurse in Turin and likes to paint."},
    "judge": {"question": "What is 2 + 2?", "reply": "2 + 2 is 5."},
    "judge-pair": {"question": "What is 2 + 2?", "first": "It is 4.", "second": "It is 5."},
    "logic": {"puzzle": "Max is older than Nora. Nora is older than Olga. Who is the oldest?"},
    "open-question": {"question": "What is the capital of Japan?"},
    "qa": {
        "text": "The museum was founded in 1923 by Elsa Brandt. It shows over 4,000 clocks.",
        "question": "Who founded the museum?",
    },
    "self-instruct": {"tasks": "Write a recipe for pancakes.\nExplain how to peel garlic quickly."},
    "unit-tests": {"code": "def double(number):\n    return 2 * number"},
    "word-problem": {"question": "A farmer has 24 hens. Each lays 5 eggs a week. How many eggs are that in 2 weeks?"},
}
NAMES = sorted(ROWS)


def pool(name: str) -> list[dict[str, Any]]:
    """Return the examples of a template, each with its inputs, ``answer`` and ``reasoning``."""
    examples = load(name, None).examples
    return [{**example.inputs, "answer": example.answer, "reasoning": example.reasoning} for example in examples]


def techniques(name: str) -> list[Technique]:
    reasoned = all(example["reasoning"] for example in pool(name))
    return ["zero-shot", "few-shot", "cot", "few-shot-cot"] if reasoned else ["zero-shot", "few-shot"]


SUPPORTED = [(name, technique) for name in NAMES for technique in techniques(name)]
WITH_EXAMPLES = [(name, technique) for name, technique in SUPPORTED if technique.startswith("few-shot")]


@pytest.mark.parametrize(("name", "technique"), SUPPORTED)
def test_each_rendering_is_as_it_was(name: str, technique: Technique) -> None:
    check_golden(name, technique, Renderer(load(name, None), Approach(technique)).render(ROWS[name]))


@pytest.mark.parametrize(("name", "technique"), WITH_EXAMPLES)
def test_the_answer_of_each_worked_reply_is_read_back(name: str, technique: Technique) -> None:
    examples = pool(name)
    renderer = Renderer(load(name, None), Approach(technique, shots=len(examples)))
    rendered = renderer.render(ROWS[name])
    replies = [message.content for message in rendered.messages if message.role == "assistant"]
    assert len(replies) == len(examples)
    for index, reply in zip(rendered.examples, replies, strict=True):
        answer = examples[index]["answer"]
        # A base model goes on from the lead, which may be the beginning of the reply.
        for found in (
            renderer.read_answer(reply),
            renderer.read_answer(reply.removeprefix(rendered.lead), rendered.lead),
        ):
            assert found == answer
            assert renderer.check(found, answer)


@pytest.mark.parametrize("name", [name for name in NAMES if "cot" in techniques(name)])
def test_what_asks_for_reasoning_is_not_read_as_an_answer(name: str) -> None:
    renderer = Renderer(load(name, None), Approach("cot"))
    lead = renderer.render(ROWS[name]).lead
    assert renderer.read_answer(" Well, it is hard to say.", lead) is None


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_the_file(name: str) -> None:
    assert check_file(find_template(name)) == ()


@pytest.mark.parametrize(("name", "technique"), WITH_EXAMPLES)
def test_a_base_model_that_goes_on_and_on_is_stopped_after_its_answer(name: str, technique: Technique) -> None:
    assert_stopped_after_the_answer(Renderer(load(name, None), Approach(technique)), ROWS[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_holds_enough_examples_that_differ(name: str) -> None:
    examples = pool(name)
    assert len(examples) >= (8 if name == "word-problem" else 6)
    inputs = [json.dumps({k: v for k, v in one.items() if k not in ("answer", "reasoning")}) for one in examples]
    assert len(set(inputs)) == len(inputs)
    assert ROWS[name] not in [json.loads(one) for one in inputs]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_come_before_all_that_a_row_changes(name: str) -> None:
    template = load(name, None)
    settings = {key: given.default for key, given in template.inputs.items() if not given.required}
    renderer = Renderer(template, Approach("few-shot", shots=2), settings)
    other = {key: f"Other {value}" for key, value in ROWS[name].items()}
    one, two = renderer.render(ROWS[name]), renderer.render(other)
    assert one.messages[:-1] == two.messages[:-1]
    assert one.shared_messages == len(one.messages) - 1
    assert one.text[: one.shared_characters] == two.text[: two.shared_characters]
    assert [pool(name)[index]["answer"] in one.text[: one.shared_characters] for index in one.examples] == [True, True]


READINGS: dict[str, list[tuple[str, str | None]]] = {
    "code": [
        ("Here it is:\n```python\ndef f():\n    return 1\n```\nIt returns 1.", "def f():\n    return 1"),
        ("```\ndef f(): ...\n```", "def f(): ..."),
        ("```py\ndef f(): ...", "def f(): ..."),
        ("```python\ndef f(): ...\n```\nBetter:\n```python\ndef g(): ...\n```", "def g(): ..."),
        ("```python\nprint(1)\n```", None),
        ("```python\nimport math\n\n\nclass P:\n    pass\n```", "import math\n\n\nclass P:\n    pass"),
        ("```python\ndouble = lambda n: 2 * n\n```", "double = lambda n: 2 * n"),
        ("```python\ndef f():\n    return 1\n```\nExample:\n```python\nprint(f())\n```", "def f():\n    return 1"),
        ("```python\n\n\ndef f():\n    pass\n\n\n```", "def f():\n    pass"),
        ("def f():\n    return 1", None),
        ("I cannot do that.", None),
    ],
    "explain-code": [
        ("  It prints every line.\n", "It prints every line."),
        ("It opens a file.\n\nThen it prints.", "It opens a file.\n\nThen it prints."),
        (" \n", None),
    ],
    "extract-entities": [
        ("Entities: Ana (person), Rome (place)", "Ana (person), Rome (place)"),
        ("Ana is a person.\n**Entities:** Ana (person).", "Ana (person)"),
        ("entities: none.", "none"),
        ("Entities: Acme Inc. (organisation), 3 May (date)\n\nText: More", "Acme Inc. (organisation), 3 May (date)"),
        ("Ana (person), Rome (place)", None),
        ("Entities:", None),
    ],
    "extract-json": [
        ('{"a": 1}', '{"a": 1}'),
        ('Here:\n```json\n{\n  "a": {"b": [1, 2]}\n}\n```\nDone.', '{\n  "a": {"b": [1, 2]}\n}'),
        ('It is {unclear}. {"a": null}', '{"a": null}'),
        ('{"a": 1', None),
        ("There are no fields.", None),
    ],
    "judge": [
        ("Reason: It is right.\nScore: 10", "10"),
        ("**Score:** 7/10", "7"),
        ("I give it a score of 8.", "8"),
        ("Score: 6.5", "6.5"),
        ("The scale goes from 1 to 10.\nScore: 3. It is wrong.", "3"),
        ("Score: 0", None),
        ("Score: 15", None),
        ("Score: 100", None),
        ("It is a good answer, 9 of 10.", None),
    ],
    "judge-pair": [
        ("Reason: Only A is right.\nBetter: A", "A"),
        ("**Better:** B.", "B"),
        ("Better: Answer B", "B"),
        ('Better: "tie"', "tie"),
        ("Better: a tie", "tie"),
        ("Better: A, because B is wrong", "A"),
        ("The answer is A.", "A"),
        ("Better: A or B?\nBetter: B", "B"),
        ("Better: A or B?", None),
        ("The answer is a city.", None),
        ("Better: both", None),
        ("Better: Answers vary", None),
        ("A is better.", None),
    ],
    "logic": [
        ("So it is her.\nThe answer is Cleo.", "Cleo"),
        ("the answer is: **Yes**", "Yes"),
        ('The answer is the "rabbit".', "rabbit"),
        ("The answer is A.", "A"),
        ("The answer is Ana. No, Ben is older: the answer is Ben.", "Ben"),
        ("The answer is Jean-Luc, who came first.", "Jean-Luc"),
        ("Cleo is the shortest.", None),
        ("The answer is", None),
    ],
    "open-question": [("Canberra\n", "Canberra"), ("The capital is Canberra.", "The capital is Canberra."), ("", None)],
    "qa": [
        ('Quote: "It is 34 metres high."\nAnswer: 34 metres', "34 metres"),
        ("**Answer:** Luis Ortega", "Luis Ortega"),
        ("Answer:\nnot stated", "not stated"),
        ('The answer to this question is "a circle".', '"a circle".'),
        ("Answer: 5\nWait, that is wrong.\nAnswer: 6", "6"),
        ("It is 34 metres high.", None),
        ("The text answers it.", None),
    ],
    "self-instruct": [
        ("New task: Write a haiku about rain.", "Write a haiku about rain."),
        ("**New task:** Name two rivers.\n\nTasks:\nMore", "Name two rivers."),
        ("Write a haiku about rain.", None),
        ("New task:\nWrite a haiku about rain.", "Write a haiku about rain."),
        ("New task: ", None),
    ],
    "unit-tests": [
        ("```python\ndef test_it():\n    assert double(2) == 4\n```", "def test_it():\n    assert double(2) == 4"),
        ("One.\n```python\nimport pytest\n\ndef test_it(): ...\n```\nDone.", "import pytest\n\ndef test_it(): ..."),
        ("```python\nclass TestIt:\n    def test_it(self): ...\n```", "class TestIt:\n    def test_it(self): ..."),
        ("```python\ndef double(number):\n    return 2 * number\n```", None),
        ("def test_it(): ...", None),
    ],
    "word-problem": [
        ("So 1,000 + 2.5. The answer is -1,002.5.", "-1,002.5"),
        ("The answer is: **$12**.", "12"),
        ("The answer is 30 euros", "30"),
        ("The answer is 3 * 12 - 7 = 29.", "29"),
        ("The answer is 7.5 * 2 = 15.", "15"),
        ("The answer is 29. To check: 36 - 8 = 28.", "29"),
        ("The answer is that she has 29 pencils left.", "29"),
        ("The answer is 12, because 2 * 6 is 12.", "12"),
        ("The answer is 5. No: the answer is 3/4.", "3/4"),
        ("The answer is .5", ".5"),
        ("The answer is unknown. There are 3 boxes.", None),
        ("She has 29 pencils.", None),
    ],
}


@pytest.mark.parametrize(
    ("name", "reply", "answer"), [(name, *case) for name, cases in READINGS.items() for case in cases]
)
def test_an_answer_is_read_off_a_reply(name: str, reply: str, answer: str | None) -> None:
    assert Renderer(load(name, None), Approach("zero-shot")).read_answer(reply) == answer


@pytest.mark.parametrize("name", ["explain-code", "open-question"])
def test_after_reasoning_only_what_is_marked_is_the_answer(name: str) -> None:
    renderer = Renderer(load(name, None), Approach("cot"))
    assert renderer.read_answer("It lies in Asia.\nAnswer: Tokyo") == "Tokyo"
    assert renderer.read_answer("It is Tokyo.") is None


def test_every_template_has_readings() -> None:
    assert sorted(READINGS) == NAMES


def test_sums_in_the_word_problems_are_right() -> None:
    checked = 0
    for example in pool("word-problem"):
        sums = re.findall(r"((?:[\d.(]+ [-+*/] )+[\d.]+\)?(?: [-+*/] [\d.]+)*) = (\d+(?:\.\d+)?)", example["reasoning"])
        for left, right in sums:
            exact = re.sub(r"\d+(?:\.\d+)?", r"Fraction('\g<0>')", left)
            assert eval(exact, {"Fraction": Fraction}) == Fraction(right), left
            checked += 1
        assert Fraction(example["answer"]) == Fraction(sums[-1][1])
    assert checked >= 2 * len(pool("word-problem")) - 3


@pytest.mark.parametrize("name", ["code", "unit-tests"])
def test_code_in_the_examples_runs(name: str) -> None:
    for example in pool(name):
        exec(compile(example["answer"], name, "exec"), {})


def test_the_functions_of_the_code_examples_do_what_is_described() -> None:
    known: dict[str, Any] = {}
    for example in pool("code"):
        exec(example["answer"], known)
    assert known["is_palindrome"]("Level")
    assert not known["is_palindrome"]("levels")
    assert known["count_words"]("a B b") == {"a": 1, "b": 2}
    assert known["fibonacci"](6) == [0, 1, 1, 2, 3, 5]
    assert (known["second_largest"]([3, 5, 5]), known["second_largest"]([5, 5])) == (3, None)
    assert known["flatten"]([[1], [], [2, 3]]) == [1, 2, 3]
    assert known["chunks"]([1, 2, 3], 2) == [[1, 2], [3]]
    with pytest.raises(ValueError, match="size must be at least 1"):
        known["chunks"]([1], 0)
    assert known["run_length"]("aab") == [("a", 2), ("b", 1)]


def test_the_unit_tests_of_the_examples_pass() -> None:
    ran = 0
    for example in pool("unit-tests"):
        known: dict[str, Any] = {}
        exec(f"{example['code']}\n\n\n{example['answer']}", known)
        for function in [value for key, value in known.items() if key.startswith("test_")]:
            marks = getattr(function, "pytestmark", [])
            for arguments in marks[0].args[1] if marks else [()]:
                function(*arguments)
                ran += 1
    assert ran >= 15


def test_quotes_stand_in_the_text() -> None:
    for example in pool("qa"):
        if example["answer"] == "not stated":
            assert example["reasoning"].startswith("Quote: none")
        else:
            assert example["reasoning"].removeprefix('Quote: "').removesuffix('"') in example["text"]


def test_extracted_values_stand_in_the_text() -> None:
    for example in pool("extract-json"):
        values = json.loads(example["answer"])
        assert list(values) == example["fields"].split(", ")
        words = [word for value in values.values() if isinstance(value, str) for word in value.split()]
        assert [word for word in words if word not in example["text"]] == []
    for example in pool("extract-entities"):
        if example["answer"] != "none":
            for entity in example["answer"].split(", "):
                found = re.fullmatch(r"(.+) \((person|organisation|place|date)\)", entity)
                assert found is not None
                assert found[1] in example["text"]


def test_judges_see_every_kind_of_verdict() -> None:
    scores = [int(example["answer"]) for example in pool("judge")]
    assert min(scores) == 1
    assert max(scores) == 10
    verdicts = [example["answer"] for example in pool("judge-pair")]
    assert verdicts.count("A") == verdicts.count("B")
    # A judge that is shown one side more often learns to prefer it.
    shown = verdicts[: load("judge-pair", None).shots]
    assert (shown.count("A"), shown.count("B"), shown.count("tie")) == (2, 2, 1)
