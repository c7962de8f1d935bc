from __future__ import annotations

import random

import pytest

from lmlab.lab.compare.differences import Differences, Span, differences


def marked(spans: tuple[Span, ...]) -> str:
    return "".join(f"[{span.text}]" if span.changed else span.text for span in spans)


def both(found: Differences) -> tuple[str, str]:
    return marked(found.left), marked(found.right)


@pytest.mark.parametrize(
    ("left", "right", "shown"),
    [
        ("the same", "the same", ("the same", "the same")),
        ("", "", ("", "")),
        ("", "new", ("", "[new]")),
        ("It is 12.", "It is 14.", ("It is [12].", "It is [14].")),
        ("a b c", "a c", ("a [b] c", "a c")),
        ("ja, gut", "ja; gut", ("ja[,] gut", "ja[;] gut")),
        ("one  two\n", "one two", ("one  two\n", "one two")),
    ],
)
def test_words_and_marks_that_differ_are_told(left: str, right: str, shown: tuple[str, str]) -> None:
    assert both(differences(left, right)) == shown


def test_the_fewest_words_are_said_to_differ() -> None:
    found = differences("a b c a b b a", "c b a b a c")
    # The example of Myers's paper: four of them are in both.
    assert sum(len(span.text.split()) for span in found.left if not span.changed) == 4
    assert sum(len(span.text.split()) for span in found.right if not span.changed) == 4


def test_the_spans_are_the_text_again() -> None:
    draw = random.Random(5)
    for _ in range(500):
        left, right = ("".join(draw.choices("ab c\n.,é😀", k=draw.randrange(30))) for _ in range(2))
        found = differences(left, right)
        assert "".join(span.text for span in found.left) == left
        assert "".join(span.text for span in found.right) == right
        kept = ["".join(span.text.split()) for span in found.left if not span.changed]
        other = ["".join(span.text.split()) for span in found.right if not span.changed]
        assert "".join(kept) == "".join(other)


def test_texts_without_much_in_common_are_compared_by_lines_and_it_is_said() -> None:
    left = "the same line\n" + " ".join(f"w{number}" for number in range(700))
    right = "the same line\n" + " ".join(f"v{number}" for number in range(700))
    found = differences(left, right)
    assert not found.exact
    assert found.left[0] == Span("the same line\n", False)
    assert found.left[1].changed


def test_a_thousand_lines_without_any_in_common_are_whole_changed() -> None:
    left, right = ("\n".join(f"{mark}{number} x" for number in range(1000)) for mark in "vw")
    found = differences(left, right)
    assert found.left == (Span(left, True),)
    assert found.same == 0


def test_how_much_is_the_same() -> None:
    assert differences("ab cd", "ab ef").same == pytest.approx(0.5)
    assert differences("", "").same == 1
