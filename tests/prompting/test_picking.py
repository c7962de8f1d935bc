from __future__ import annotations

from lmlab.prompting.picking import Pick, Picker

POOL = [
    {"text": "the cat sat on the mat"},
    {"text": "the stock market fell today"},
    {"text": "the team won the match"},
    {"text": "a cat and a dog"},
]


def pick(text: str, shots: int, how: Pick, seed: int = 0) -> tuple[int, ...]:
    return Picker(POOL, shots, how, seed).pick({"text": text, "language": "cat"})


def test_in_order() -> None:
    assert pick("x", 2, "order") == (0, 1)
    assert Picker(POOL, 2, "order", 0).usual == (0, 1)


def test_at_random_once_for_all_rows() -> None:
    picker = Picker(POOL, 3, "random", 7)
    assert picker.pick({"text": "x"}) == picker.pick({"text": "y"}) == picker.usual == pick("x", 3, "random", 7)
    assert {pick("x", 2, "random", seed) for seed in range(50)} >= {(2, 0), (0, 2), (3, 1)}
    assert all(len(set(pick("x", 4, "random", seed))) == 4 for seed in range(20))


def test_the_nearest_comes_last() -> None:
    assert pick("my dog", 2, "nearest") == (0, 3)
    assert pick("The MARKET", 1, "nearest") == (1,)
    # A rare word counts for more than a common one.
    assert Picker([{"t": "red plane"}, {"t": "boat plane"}, {"t": "red hat"}], 1, "nearest", 0).pick(
        {"t": "red boat"}
    ) == (1,)
    # With nothing in common the first in order come.
    assert pick("xyz", 2, "nearest") == (1, 0)


def test_scripts_without_spaces_have_words_too() -> None:
    picker = Picker([{"t": "猫が好き"}, {"t": "犬が好き"}, {"t": "車です"}], 1, "nearest", 0)
    assert picker.pick({"t": "あの犬"}) == (1,)


def test_an_example_never_gives_its_own_answer_away() -> None:
    text = POOL[1]["text"]
    assert pick(f" {text}\n", 2, "order") == (0, 2)
    assert pick(text, 4, "order") == (0, 2, 3)
    assert 1 not in pick(text, 3, "random", 3)
    assert 1 not in pick(text, 3, "nearest")
    assert Picker([{"n": 3}], 1, "order", 0).pick({"n": "3"}) == ()
    # All that an example gives must be the same.
    assert Picker([{"a": "x", "b": "y"}], 1, "order", 0).pick({"a": "x", "b": "z"}) == (0,)
