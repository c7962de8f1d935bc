from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmlab.errors import StoreError
from lmlab.store import Attachment, Branch, Candidacy, Reply, Store, TemplateUse, Turn
from lmlab.worker.prompts import Message

USE = TemplateUse("t", "print", "cot", 2, {"a": "b"}, (Message("system", "S"), Message("user", "U")), ("\n",), "A:")


class Failing(sqlite3.Connection):
    """Fails at the statement that writes number ``fail_at``, once."""

    fail_at = 0

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if Failing.fail_at and sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")):
            Failing.fail_at -= 1
            if Failing.fail_at == 0:
                raise sqlite3.OperationalError("the plug was pulled")
        return super().execute(sql, *args)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    Failing.fail_at = 0
    store = Store(tmp_path / "sessions.db", connect=lambda *a, **k: sqlite3.connect(*a, factory=Failing, **k))
    yield store
    Failing.fail_at = 0
    store.close()


def reply(store: Store, session: str, parent: int, text: str, **facts: Any) -> Turn:
    made = Reply(status="done", tokens=(1, 2), logprobs=(-0.5, -0.25), model="m", **facts)
    return store.add_turn(session, parent, text, reply=made)


def a_tree(store: Store) -> tuple[str, dict[str, Turn]]:
    """A question with three replies; below the second two questions, the later one selected."""
    session = store.create_session().id
    made = {"q": store.add_turn(session, None, "q", attachments=(Attachment("f", "text"),), prompt=USE)}
    for name in ("r1", "r2", "r3"):
        made[name] = reply(store, session, made["q"].id, name, candidate=Candidacy(0, 3))
    made["p1"] = store.add_turn(session, made["r2"].id, "p1")
    made["a1"] = reply(store, session, made["p1"].id, "a1")
    made["p2"] = store.add_turn(session, made["r2"].id, "p2")
    made["a2"] = reply(store, session, made["p2"].id, "a2", branch=Branch(made["a1"].id, 1))
    return session, made


def everything(store: Store) -> tuple[list[Any], list[Any]]:
    """All rows of both tables but when sessions were last written."""
    with sqlite3.connect(store.file) as reader:
        turns = reader.execute("SELECT * FROM turn ORDER BY id").fetchall()
        sessions = reader.execute("SELECT id, title, created, model, system, leaf FROM session").fetchall()
    reader.close()
    return turns, sessions


def texts(turns: tuple[Turn, ...]) -> list[str]:
    return [turn.content for turn in turns]


@pytest.mark.parametrize(
    ("gone", "count", "path"),
    [
        ("q", 8, []),
        ("r1", 1, ["q", "r2", "p2", "a2"]),
        ("r2", 5, ["q", "r3"]),
        ("r3", 1, ["q", "r2", "p2", "a2"]),
        ("p1", 2, ["q", "r2", "p2", "a2"]),
        ("p2", 2, ["q", "r2", "p1", "a1"]),
        ("a2", 1, ["q", "r2", "p2"]),
        ("a1", 1, ["q", "r2", "p2", "a2"]),
    ],
)
def test_the_path_moves_to_the_nearest_sibling_or_ends_above_and_all_comes_back(
    store: Store, gone: str, count: int, path: list[str]
) -> None:
    session, made = a_tree(store)
    before = everything(store)

    pruned = store.prune(made[gone].id)

    assert (pruned.turn, pruned.count) == (made[gone], count)
    assert texts(store.path(session)) == path
    assert len(store.turns(session)) == 8 - count

    store.restore(pruned)

    assert everything(store) == before
    assert texts(store.path(session)) == ["q", "r2", "p2", "a2"]


def test_nothing_follows_what_is_gone_and_that_is_said(store: Store) -> None:
    session, made = a_tree(store)
    store.prune(made["p1"].id)

    with pytest.raises(StoreError, match=r"^what this follows was removed, here or by another program: bring it back"):
        store.add_turn(session, made["a1"].id, "and then?")

    store.remove(session)
    with pytest.raises(StoreError, match=r"begin a new session$"):
        store.add_turn(session, None, "anybody?")


def test_what_was_selected_below_a_sibling_is_selected_again(store: Store) -> None:
    session, made = a_tree(store)
    store.select(made["p1"].id)

    store.prune(made["p1"].id)

    assert texts(store.path(session)) == ["q", "r2", "p2", "a2"]


def test_the_last_sibling_gives_way_to_the_one_before_it(store: Store) -> None:
    session, made = a_tree(store)
    store.select(made["r3"].id)

    store.prune(made["r3"].id)

    assert texts(store.path(session)) == ["q", "r2", "p2", "a2"]


def test_a_branch_that_is_not_selected_forgets_what_is_gone(store: Store) -> None:
    session, made = a_tree(store)
    store.select(made["r1"].id)

    store.prune(made["p2"].id)

    assert texts(store.path(session)) == ["q", "r1"]
    assert texts(store.select(made["r2"].id)) == ["q", "r2", "p1", "a1"]


def test_a_path_elsewhere_stays_where_it_is_when_a_branch_comes_back(store: Store) -> None:
    session, made = a_tree(store)
    store.select(made["r1"].id)
    pruned = store.prune(made["r2"].id)
    store.add_turn(session, made["r1"].id, "on")

    store.restore(pruned)

    assert texts(store.path(session)) == ["q", "r1", "on"]
    assert texts(store.select(made["r2"].id)) == ["q", "r2", "p2", "a2"]


def test_ids_are_not_given_again_meanwhile(store: Store) -> None:
    session, made = a_tree(store)
    pruned = store.prune(made["p2"].id)

    later = store.add_turn(session, made["r1"].id, "later")
    store.restore(pruned)

    assert later.id > max(turn.id for turn in made.values())
    assert store.turn(made["a2"].id) == made["a2"]


def test_prunings_within_one_another_are_taken_back_from_the_last_on(store: Store) -> None:
    session, made = a_tree(store)
    before = everything(store)
    first = store.prune(made["a2"].id)
    second = store.prune(made["r2"].id)

    with pytest.raises(StoreError, match="bring that back first"):
        store.restore(first)
    store.restore(second)
    store.restore(first)

    assert everything(store) == before
    with pytest.raises(StoreError, match="is there already"):
        store.restore(first)
    store.remove(session)
    with pytest.raises(StoreError, match="is gone"):
        store.restore(first)


def prune_and_restore(store: Store, turn: int) -> None:
    """Eight statements write to prune, nine to restore."""
    store.restore(store.prune(turn))


@pytest.mark.parametrize("statement", range(1, 18))
def test_pruning_and_restoring_are_whole_or_not_at_all(store: Store, statement: int) -> None:
    session, made = a_tree(store)
    before = everything(store)

    Failing.fail_at = statement
    with pytest.raises(StoreError, match="the plug was pulled"):
        prune_and_restore(store, made["r2"].id)

    there = {turn.content for turn in store.turns(session)}
    assert there == ({"q", "r1", "r3"} if statement > 8 else set(made))
    if statement <= 8:
        assert everything(store) == before
    else:
        assert texts(store.path(session)) == ["q", "r3"]


DEEP = """
import sys
from pathlib import Path
from lmlab.store import Reply, Store
store = Store(Path(sys.argv[1]))
turns = store.turns(sys.argv[2])
print("pruning", flush=True)
while True:
    store.restore(store.prune(turns[1].id))
"""


def test_a_program_that_is_killed_meanwhile_leaves_a_whole_tree(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    store = Store(file)
    session = store.create_session().id
    with store.transaction():
        parent = store.add_turn(session, None, "0").id
        for number in range(1, 300):
            parent = store.add_turn(session, parent, str(number), reply=Reply() if number % 2 else None).id

    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", DEEP, str(file), session], stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "pruning\n"
            program.kill()

        there = len(store.turns(session))
        assert there in (1, 300)
        assert len(store.path(session)) == there
        if there == 1:
            break
    store.close()


def test_a_conversation_of_more_than_a_thousand_messages_is_pruned_restored_and_removed(store: Store) -> None:
    session = store.create_session().id
    with store.transaction():
        parent = store.add_turn(session, None, "0").id
        for number in range(1, 1100):
            parent = store.add_turn(session, parent, str(number), reply=Reply() if number % 2 else None).id
    before = everything(store)
    first, second = store.path(session)[:2]

    pruned = store.prune(second.id)
    assert store.path(session) == (first,)
    store.restore(pruned)
    assert (pruned.count, everything(store)) == (1099, before)

    store.remove(session)
    assert everything(store) == ([], [])


def test_a_thousand_replies_to_one_question_are_pruned_and_restored(store: Store) -> None:
    session = store.create_session().id
    with store.transaction():
        question = store.add_turn(session, None, "q").id
        for number in range(1200):
            reply(store, session, question, str(number))
    before = everything(store)

    pruned = store.prune(question)
    assert store.turns(session) == ()
    store.restore(pruned)

    assert everything(store) == before


def test_a_line_leads_to_any_turn_and_the_path_may_end_at_any(store: Store) -> None:
    session, made = a_tree(store)

    assert texts(store.line(made["a1"].id)) == ["q", "r2", "p1", "a1"]
    assert texts(store.siblings(made["r2"])) == ["r1", "r2", "r3"]
    assert texts(store.siblings(made["q"])) == ["q"]
    assert texts(store.end_at(made["r2"].id)) == ["q", "r2"]
    assert texts(store.path(session)) == ["q", "r2"]
    store.add_turn(session, made["r2"].id, "p3")
    assert texts(store.path(session)) == ["q", "r2", "p3"]


def test_first_messages_are_siblings(store: Store) -> None:
    session, made = a_tree(store)
    other = store.add_turn(session, None, "other")
    store.add_turn(store.create_session().id, None, "elsewhere")

    assert store.siblings(made["q"]) == (made["q"], other)
    store.prune(made["q"].id)
    assert texts(store.path(session)) == ["other"]
