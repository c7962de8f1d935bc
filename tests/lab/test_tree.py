from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from lmlab.lab.tree import tree, walk
from lmlab.store import Reply, Turn

START = Turn(1, "s", None, "", datetime(2026, 1, 1, tzinfo=UTC))


def turns(*parents: int | None) -> list[Turn]:
    """Turns 1, 2, 3 ..., each below the parent given."""
    return [replace(START, id=number, parent=parent) for number, parent in enumerate(parents, 1)]


def drawn(made: list[Turn], *path: int) -> list[tuple[int, int, int, int, bool]]:
    """(id, depth, place, of, selected) of each row, top to bottom."""
    rows = walk(tree(made, [turn for turn in made if turn.id in path]))
    return [(row.turn.id, row.depth, row.place, row.of, row.node.selected) for row in rows]


def test_a_conversation_goes_straight_down() -> None:
    assert drawn(turns(None, 1, 2), 1, 2, 3) == [(1, 0, 1, 1, True), (2, 0, 1, 1, True), (3, 0, 1, 1, True)]


def test_the_branch_with_the_newest_turn_goes_on_and_the_others_stand_before_it_one_deeper() -> None:
    # 1 was answered by 2, 3 and 4, and the conversation went on below 3.
    made = turns(None, 1, 1, 1, 3, 5)

    assert drawn(made, 1, 3, 5, 6) == [
        (1, 0, 1, 1, True),
        (2, 1, 1, 3, False),
        (4, 1, 3, 3, False),
        (3, 0, 2, 3, True),
        (5, 0, 1, 1, True),
        (6, 0, 1, 1, True),
    ]


def test_what_is_selected_does_not_change_the_order() -> None:
    made = turns(None, 1, 1, 1, 3, 5)

    assert [row[:4] for row in drawn(made, 1, 2)] == [row[:4] for row in drawn(made, 1, 3, 5, 6)]
    assert [row[0] for row in drawn(made, 1, 2) if row[4]] == [1, 2]


def test_branches_of_branches_are_deeper_still() -> None:
    # Below 2 there is a fork of its own, and the newest turn is elsewhere.
    made = turns(None, 1, 1, 2, 2, 3)

    assert [row[:2] for row in drawn(made)] == [(1, 0), (2, 1), (4, 2), (5, 1), (3, 0), (6, 0)]


def test_first_messages_may_be_several() -> None:
    assert [row[:4] for row in drawn(turns(None, 1, None, 3))] == [
        (1, 1, 1, 2),
        (2, 1, 1, 1),
        (3, 0, 2, 2),
        (4, 0, 1, 1),
    ]


def test_nothing_is_a_tree_of_nothing() -> None:
    assert tree([], []) == ()
    assert list(walk(())) == []


def test_a_tree_may_be_deeper_than_calls_can_nest() -> None:
    made = turns(None, *range(1, 5000))

    rows = drawn(made, *range(1, 5001))

    assert [row[0] for row in rows] == list(range(1, 5001))
    assert {row[1] for row in rows} == {0}


def test_a_tree_may_be_as_wide() -> None:
    rows = drawn([START, *(replace(START, id=number, parent=1, reply=Reply()) for number in range(2, 5002))])

    assert [row[0] for row in rows] == list(range(1, 5002))
    assert [row[1] for row in rows] == [0, *[1] * 4999, 0]
