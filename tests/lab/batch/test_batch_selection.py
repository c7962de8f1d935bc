from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lmlab.errors import UsageError
from lmlab.lab.batch.rows import (
    BadRow,
    Row,
    parse_where,
    sample,
    where_rows,
)


def row(number: int, **values: Any) -> Row:
    return Row(number, number, values, None, number)


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        ("lang=de", [1]),
        ("lang!=de", [2, 3, 4]),
        ("lang~^(de|fr)$", [1, 2]),
        ("n=3", [3]),
        ("n=1.5", [1]),
        ("flag=true", [2]),
        ("list=[1,2]", [4]),
        ("lang~a=b", []),
    ],
)
def test_a_condition_looks_at_one_column(condition: str, numbers: list[int]) -> None:
    rows = [row(1, lang="de", n=1.5), row(2, lang="fr", flag=True), row(3, lang="en", n=3), row(4, list=[1, 2])]
    assert [each.number for each in where_rows(rows, [parse_where(condition)])] == numbers


def test_conditions_hold_together_and_bad_rows_pass() -> None:
    bad = BadRow(3, 3, None, UsageError("broken"), 3)
    rows = [row(1, a="1", b="2"), row(2, a="1", b="3"), bad]
    assert list(where_rows(rows, [parse_where("a=1"), parse_where("b!=2")])) == [rows[1], bad]


def test_a_column_that_no_row_has_is_an_error_with_those_there_are() -> None:
    rows = [row(1, a="1"), row(2, b="2")]
    with pytest.raises(UsageError, match="no row has a column 'lang'; there are a, b"):
        list(where_rows(rows, [parse_where("a=0"), parse_where("lang=de")]))
    assert list(where_rows([], [parse_where("lang=de")])) == []


@pytest.mark.parametrize("text", ["", "lang", "=de", "!=x", "~x"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write COLUMN=VALUE"):
        parse_where(text)


def test_a_wrong_regular_expression_is_refused() -> None:
    with pytest.raises(UsageError, match="the regular expression is wrong"):
        parse_where("a~(")


def test_a_sample_is_the_same_again_and_in_input_order() -> None:
    rows = [row(number) for number in range(1, 1001)]
    drawn = [each.number for each in sample(rows, 50, 7)]
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 50
    assert drawn == [each.number for each in sample(iter(rows), 50, 7)]
    assert drawn != [each.number for each in sample(rows, 50, 8)]
    assert list(sample(rows[:30], 50, 7)) == rows[:30]
    with pytest.raises(UsageError, match="--sample 0 draws no row"):
        list(sample(rows, 0, 7))


def test_every_row_is_as_likely_to_be_drawn() -> None:
    rows = [row(number) for number in range(10)]
    drawn = Counter(each.number for seed in range(2000) for each in sample(rows, 3, seed))
    # 600 expected; four standard deviations of the binomial are 82.
    assert all(abs(drawn[number] - 600) < 82 for number in range(10))
