from __future__ import annotations

import re

import pytest

from lmlab.prompting import Answer
from lmlab.prompting.answers import AnswerForm, find
from lmlab.prompting.regexes import regex_problem


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"answer is (\d+)", "The answer is 3. No, the answer is 4.", "4"),
        (r"(the) (?P<answer>\d+)", "the 5", "5"),
        (r"\d+", "1 2 3", "3"),
        (r"a: (x)|b: (y)", "b: y", "y"),
        (r"a: (\s*)", "a:  ", None),
        (r"a: (x)?", "a: ", None),
        (r"\d+", "none", None),
    ],
)
def test_the_last_match_counts(pattern: str, text: str, found: str | None) -> None:
    assert find(re.compile(pattern), text) == found


def test_without_regex_the_whole_reply_is_the_answer() -> None:
    form = AnswerForm(Answer(), reasons=False)
    assert form.read("  positive \n", "") == "positive"
    assert form.read(" positive", form.cue) == "positive"
    assert form.read(" \n", "") is None
    assert (form.cue, form.write("x"), form.write_after_cue("x")) == ("Answer:", "x", "Answer: x")
    assert form.write_after_cue("a\nb") == "Answer:\na\nb"


def test_a_format_gives_a_base_model_its_cue() -> None:
    form = AnswerForm(Answer(format="The answer is {{ answer }}.", regex=r"answer is\s*([\d.]*\d)"), reasons=False)
    assert (form.cue, form.write("7"), form.write_after_cue("7")) == (
        "The answer is",
        "The answer is 7.",
        "The answer is 7.",
    )
    assert form.read(" 7.", form.cue) == "7"
    assert form.read(" 7.", "") is None
    code = AnswerForm(Answer(format="```python\n{{ answer }}\n```"), reasons=False)
    assert (code.cue, code.write_after_cue("x = 1")) == ("```python", "```python\nx = 1\n```")
    assert code.read("\nx = 1\n```", code.cue) == "```python\nx = 1\n```"


def test_reasoning_is_told_from_the_answer_by_a_marker() -> None:
    form = AnswerForm(Answer(), reasons=True)
    assert form.marked
    assert form.write("7") == "Answer: 7"
    assert form.read("Answer: no.\nWait.\n**Answer:** 7\n", "Think.") == "7"
    assert form.read("I say: ANSWER: a\nb", "") == "a\nb"
    assert form.read("seven", 'Write "Answer:" and it.') is None
    assert form.read("Answer:  ", "") is None
    assert AnswerForm(Answer(format="<{{ answer }}>"), reasons=True).write("7") == "Answer: <7>"


def test_a_regex_reads_the_reply_and_not_what_asked_for_reasoning() -> None:
    form = AnswerForm(Answer(regex=r"Answer: (\w+)"), reasons=True)
    assert not form.marked
    assert form.read("So.\nAnswer: yes", "Think, then write Answer: and it.") == "yes"
    assert form.read("So.", "Think, then write Answer: and it.") is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"(?:\w+\s?)*x",
        r"x(a|b+)*",
        r"((a)*)+",
        r"(?:(?:a*)*)",
        r"(?:a+?)+?",
        r"(?i)(.*)*y",
        r"(x?a+)*",
        r"(?=(a+)+)",
    ],
)
def test_a_repeat_of_a_repeat_is_refused(pattern: str) -> None:
    assert "repeats a repeat" in (regex_problem(pattern) or "")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\d+(?:,\d+)*)",
        r"(?:\w+\s)*x",
        r"(a|b)+",
        r"(?:a++)+",
        r"(?>a+)+",
        r"(a+){2}",
        r"(?:- .+\n)+",
        r".*a.*b",
        r"(-?[\d,]*\.?\d+)",
    ],
)
def test_other_repeats_are_not(pattern: str) -> None:
    assert regex_problem(pattern) is None


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<1>x)", "a{99999999999}", "(" * 5000 + ")" * 5000])
def test_an_invalid_one_is_told(pattern: str) -> None:
    assert (regex_problem(pattern) or "").startswith("this regular expression is not valid: ")
