from __future__ import annotations

import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.prompting import Check, check_answer

RIGHT = [
    ("exact", " Paris. ", "paris"),
    ("exact", '"New   York"!', "new york"),
    ("exact", "**Ｐａｒｉｓ**", "Paris"),
    ("exact", "«Straße»", "STRASSE"),
    ("exact", "?", "?"),
    ("exact", ".5", ".5"),
    ("number", "1,200", "1200"),
    ("number", "$12.50", "12.5"),
    ("number", "-$3", "−3"),
    ("number", "12 apples.", "12"),
    ("number", "3/4", "0.75"),
    ("number", "1 3/4", "1.75"),
    ("number", "¾", "0.75"),
    ("number", "50%", "50"),
    ("number", "50 %", "0.5"),
    ("number", "0.5", "50%"),
    ("number", "50%", "50 %"),
    ("number", "1e3", "1000"),
    ("number", ".5", "0.5"),
    ("number", "x = -7", "-7"),
    ("number", "0.3333333", "1/3"),
    ("number", "0", "-0.0"),
    ("contains", "It is Paris, in France", "paris"),
    ("contains", "C++ and C#", "c#"),
    ("contains", "日本の首都は東京です", "東京"),
    ("mentions", "Ann met Bob in Oslo", "bob, ann"),
    ("mentions", "Ann", "Ann,"),
    ("set", "b, A", "a, b"),
    ("set", "- b\n- a", "a,b"),
    ("set", '["a", "b"]', "b, a"),
    ("json", '{"a": 1, "b": [true, null]}', '{"b": [true, null], "a": 1.0}'),
    ("json", 'Here:\n```json\n{"a": 1}\n```\nDone.', '{"a": 1}'),
    ("json", "```\n[1]\n```", "[1]"),
    ("overlap", "The cat sat on a mat.", "cat sat on the mat"),
    ("overlap", "東京です", "東京"),
    ("python", "def add(a, b):\n    return a + b", "def add"),
    ("python", "```python\nx = 1\n```", ""),
    ("python", r"x = '\d'", ""),
]
WRONG = [
    ("exact", "London", "Paris"),
    ("exact", "?", "!"),
    ("exact", "", ""),
    ("number", "13", "12"),
    ("number", "1,20", "120"),
    ("number", "between 3 and 4", "3"),
    ("number", "2024-05-01", "2024"),
    ("number", "50%", "0.5%"),
    ("number", "3/0", "3"),
    ("number", "none", "none"),
    ("number", "1e999", "1e999"),
    ("number", "12.0001", "12"),
    ("contains", "17", "7"),
    ("contains", "concatenate", "cat"),
    ("contains", "anything", ""),
    ("mentions", "Ann met Bob", "Ann, Carl"),
    ("mentions", "Ann", " , "),
    ("set", "a, b, c", "a, b"),
    ("set", "", ""),
    ("json", "true", "1"),
    ("json", '{"a": 1}', '{"a": 1, "b": 2}'),
    ("json", "[1, 2]", "[2, 1]"),
    ("json", "not json", "not json"),
    ("json", "[" * 100_000, "[]"),
    ("overlap", "dogs bark", "cats sleep"),
    ("overlap", "the", "a"),
    ("overlap", "one two three four", "one"),
    ("python", "def add(a, b) return", ""),
    ("python", "x = 1", "def add"),
    ("python", "# nothing", ""),
    ("python", "x = 1\0", ""),
]


@pytest.mark.parametrize(("check", "answer", "expected"), RIGHT)
def test_an_answer_that_is_right(check: Check, answer: str, expected: str) -> None:
    assert check_answer(check, answer, expected)


@pytest.mark.parametrize(("check", "answer", "expected"), WRONG)
def test_an_answer_that_is_wrong(check: Check, answer: str, expected: str) -> None:
    assert not check_answer(check, answer, expected)


@pytest.mark.parametrize("check", typing.get_args(Check))
@settings(deadline=None)
@given(answer=st.text(), expected=st.text())
def test_whatever_a_model_says_can_be_checked(check: Check, answer: str, expected: str) -> None:
    assert check_answer(check, answer, expected) in (True, False)


@settings(deadline=None)
@given(number=st.integers(-(10**12), 10**12))
def test_a_number_is_the_same_with_commas_and_currency(number: int) -> None:
    assert check_answer("number", f"${number:,}", str(number))
    assert not check_answer("number", str(number + max(1, abs(number) // 1000)), str(number))
