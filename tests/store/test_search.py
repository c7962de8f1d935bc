"""Searching titles and messages, and a whole session put in at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmlab.errors import StoreError
from lmlab.store import Attachment, Branch, Reply, Session, Store, Turn
from lmlab.store import store as store_module


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sessions.db")
    yield store
    store.close()


def said(store: Store, *messages: str) -> Session:
    session = store.create_session()
    parent: int | None = None
    for number, text in enumerate(messages):
        reply = Reply(status="done") if number % 2 else None
        parent = store.add_turn(session.id, parent, text, reply=reply).id
    return store.session(session.id)


def ids(store: Store, text: str) -> list[str]:
    return [found.session.id for found in store.search(text)]


def test_titles_and_messages_of_every_branch_are_searched_the_latest_first(store: Store) -> None:
    first = said(store, "About apples", "They are red.")
    branch = store.add_turn(first.id, store.turns(first.id)[0].id, "They are green.", reply=Reply(status="done"))
    store.select(store.turns(first.id)[1].id)
    second = said(store, "Pears", "APPLES are better.")
    assert ids(store, "apples") == [second.id, first.id]
    assert branch.id not in [turn.id for turn in store.path(first.id)]
    assert ids(store, "green") == [first.id]
    store.rename(second.id, "Only the title")
    (found,) = store.search("only THE")
    assert (found.session.id, found.messages, found.snippet) == (second.id, 0, None)


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("100%", True),
        ("a_b", True),
        ("axb", False),
        (".*", False),
        ("[b]", True),
        ("(c", True),
        ("GRÜSSE", True),
        ("ИВАН", True),
        ("of  a\tline", True),
        ("' OR 1=1 --", False),
        ("\\", True),
    ],
)
def test_a_search_is_literal_but_for_case_and_space(store: Store, text: str, there: bool) -> None:
    said(store, "100% a_b [b] (c grüße Grüsse Иван the end of\na line \\")
    assert bool(store.search(text)) is there


def test_a_snippet_is_the_first_place_on_one_line_and_safe(store: Store) -> None:
    said(store, f"{'x' * 100}\nthe\x1b[2J  Needle\n{'y' * 200}", "needle again")
    (found,) = store.search("needle")
    assert found.messages == 2
    snippet = found.snippet
    assert snippet is not None
    assert snippet.match == "Needle"
    assert snippet.before == f"…{'x' * 14} the␛[2J "
    assert snippet.after == f" {'y' * 119}…"
    (short,) = store.search("again")
    assert short.snippet is not None
    assert (short.snippet.before, short.snippet.after) == ("needle ", "")


def test_what_files_say_is_not_searched(store: Store) -> None:
    session = store.create_session()
    store.add_turn(session.id, None, "see", attachments=(Attachment("notes.txt", "secret"),))
    assert store.search("secret") == ()


def test_more_messages_than_are_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_PORTION", 3)
    session = said(store, *(f"number {number}" for number in range(10)))
    (found,) = store.search("number")
    assert (found.session.id, found.messages) == (session.id, 10)


# A whole session


def test_a_session_comes_in_whole_under_new_ids(store: Store, tmp_path: Path) -> None:
    session = said(store, "one", "two", "three", "four")
    turns = store.turns(session.id)
    other = store.add_turn(session.id, turns[0].id, "zwei", reply=Reply(status="done", branch=Branch(turns[1].id, 3)))
    gone = store.add_turn(session.id, turns[0].id, "deux", reply=Reply(status="done", branch=Branch(999, 1)))
    store.select(turns[1].id)
    session, turns, chosen = store.session(session.id), store.turns(session.id), store.chosen(session.id)

    elsewhere = Store(tmp_path / "other.db")
    said(elsewhere, "something", "else")
    added = elsewhere.add_session(session, turns, chosen, copy=False)
    here = elsewhere.turns(added.id)

    assert replace(added, leaf=session.leaf) == session
    assert [turn.content for turn in here] == [turn.content for turn in turns]
    assert [turn.created for turn in here] == [turn.created for turn in turns]
    renamed = dict(zip((turn.id for turn in turns), (turn.id for turn in here), strict=True))
    assert all(old != new for old, new in renamed.items())
    assert [turn.content for turn in elsewhere.path(added.id)] == ["one", "two", "three", "four"]
    assert elsewhere.chosen(added.id) == {renamed[parent]: renamed[child] for parent, child in chosen.items()}
    branches = {turn.content: turn.reply.branch for turn in here if turn.reply is not None}
    assert branches[other.content] == Branch(renamed[turns[1].id], 3)
    assert branches[gone.content] == Branch(0, 1)
    elsewhere.close()


def test_an_id_that_is_taken_changes_nothing_and_a_copy_gets_its_own(store: Store) -> None:
    session = said(store, "one", "two")
    turns, chosen = store.turns(session.id), store.chosen(session.id)
    with pytest.raises(StoreError, match=f"session {session.id} is there already"):
        store.add_session(session, turns, chosen, copy=False)
    assert store.turns(session.id) == turns
    copy = store.add_session(session, turns, chosen, copy=True)
    assert copy.id != session.id
    assert len(store.path(copy.id)) == 2


def test_what_fails_halfway_is_not_there_at_all(store: Store) -> None:
    session = said(store, "one", "two")
    turns = (*store.turns(session.id), Turn(99, session.id, 98, "lost", session.created))
    with pytest.raises(KeyError):
        store.add_session(session, turns, {}, copy=True)
    assert len(store.sessions()) == 1
