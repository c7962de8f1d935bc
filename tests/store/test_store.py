from __future__ import annotations

import json
import math
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.errors import StoreError
from lmlab.sampling import SamplingParams
from lmlab.store import (
    Attachment,
    Branch,
    Candidacy,
    Reply,
    Store,
    TemplateUse,
    Turn,
    prompt_from_dict,
    prompt_to_dict,
    reply_from_dict,
    reply_to_dict,
)
from lmlab.worker.messages import Timings, Usage
from lmlab.worker.prompts import Message


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "lmlab" / "sessions.db")
    yield store
    store.close()


WHOLE = Reply(
    status="done",
    finish_reason="length",
    tokens=(0, 1, 49151, 2**31 - 1),
    asked=SamplingParams(temperature=0, stop=("\n",)),
    sampling=SamplingParams(temperature=0, top_k=40, seed=2**32 - 2, stop=("\n",)),
    changes=((0, "temperature", 0.2, 1.3), (7, "stop", None, ("a", "b"))),
    usage=Usage(31, 12, 4),
    timings=Timings(0.1, None, 98.5, 0.4),
    context_used=35,
    system="Be brief.",
    model="smollm2",
    fingerprint="f1",
    template_hash="t1",
    versions=("0.1.0", "0.3.36"),
    error=None,
    error_type=None,
    candidate=Candidacy(2, 5, -0.41, 0.8, "4 of 5 say it", True, "vote", "4 of 5 say 42"),
    logprobs=(-0.5, 0.0, -12.25, -700.0),
    branch=Branch(7, 3),
)
THROUGH = TemplateUse(
    template="qa",
    fingerprint="t9",
    technique="few-shot",
    shots=2,
    variables={"audience": "children"},
    messages=(Message("system", "S"), Message("user", "U\n"), Message("assistant", "A"), Message("user", "é")),
    stop=("\n\n",),
    lead="A:",
    sampling=SamplingParams(temperature=0, stop=("a", "b")),
)


def test_what_was_written_is_there_after_opening_again(store: Store) -> None:
    session = store.create_session(system="Be brief.")
    question = store.add_turn(session.id, None, "Why?\n\x00é🙂", attachments=(Attachment("a.txt", "text"),))
    reply = store.add_turn(session.id, question.id, "", reply=Reply())
    store.save_reply(reply.id, "Because.", WHOLE)
    store.close()

    again = Store(store.file)
    found = again.session(session.id)
    turns = again.path(session.id)
    again.close()

    assert (found.title, found.system, found.model, found.leaf) == ("Why? ␀é🙂", "Be brief.", "smollm2", reply.id)
    assert turns == (question, Turn(reply.id, session.id, question.id, "Because.", reply.created, (), WHOLE))
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert question.attachments == (Attachment("a.txt", "text"),)


def test_a_message_keeps_the_template_it_went_through(store: Store) -> None:
    session = store.create_session()

    turn = store.add_turn(session.id, None, "typed", prompt=THROUGH)
    reply = store.add_turn(session.id, turn.id, "", reply=Reply())

    assert turn.prompt == THROUGH
    assert store.path(session.id) == (turn, reply)
    assert reply.prompt is None


def test_log_probabilities_are_kept_in_four_bytes_each_and_one_that_is_not_known_stays_so(store: Store) -> None:
    session = store.create_session()

    turn = store.add_turn(session.id, None, "", reply=Reply(tokens=(1, 2, 3), logprobs=(-0.1, math.nan, -700.0)))

    assert turn.reply is not None
    assert turn.reply.logprobs is not None
    first, unknown, last = turn.reply.logprobs
    assert (first, last) == (pytest.approx(-0.1, abs=1e-8), -700.0)
    assert math.isnan(unknown)
    with sqlite3.connect(store.file) as reader:
        assert reader.execute("SELECT length(logprobs), record LIKE '%logprobs%' FROM turn").fetchone() == (12, 0)
    reader.close()


def test_records_go_through_json_and_come_back(store: Store) -> None:
    unknown = Reply(tokens=(1, 2), logprobs=(math.nan, -0.5))

    again = reply_from_dict(json.loads(json.dumps(reply_to_dict(unknown), allow_nan=False)))

    assert again.logprobs is not None
    assert math.isnan(again.logprobs[0])
    assert again.logprobs[1:] == (-0.5,)
    assert reply_from_dict(json.loads(json.dumps(reply_to_dict(WHOLE)))) == WHOLE
    assert reply_from_dict(json.loads(json.dumps(reply_to_dict(Reply())))) == Reply()
    assert prompt_from_dict(json.loads(json.dumps(prompt_to_dict(THROUGH)))) == THROUGH


def test_a_reply_that_is_done_does_not_become_partial_again(store: Store) -> None:
    session = store.create_session()
    reply = store.add_turn(session.id, store.add_turn(session.id, None, "Why?").id, "", reply=Reply())
    store.save_reply(reply.id, "Because.", WHOLE)

    store.save_reply(reply.id, "Bec", Reply())

    assert store.turn(reply.id).content == "Because."
    assert store.turn(reply.id).reply == WHOLE


def test_regenerated_replies_are_siblings_and_the_last_one_is_selected(store: Store) -> None:
    session = store.create_session()
    question = store.add_turn(session.id, None, "q")
    first = store.add_turn(session.id, question.id, "1", reply=Reply())
    second = store.add_turn(session.id, question.id, "2", reply=Reply())

    assert store.children(question.id) == (first, second)
    assert store.path(session.id) == (question, second)
    assert store.turns(session.id) == (question, first, second)


def test_selecting_leads_back_to_where_one_was_in_that_branch(store: Store) -> None:
    session = store.create_session()
    question = store.add_turn(session.id, None, "q")
    left = store.add_turn(session.id, question.id, "left", reply=Reply())
    left_question = store.add_turn(session.id, left.id, "left q")
    left_old = store.add_turn(session.id, left_question.id, "left old", reply=Reply())
    left_new = store.add_turn(session.id, left_question.id, "left new", reply=Reply())
    store.select(left_old.id)
    right = store.add_turn(session.id, question.id, "right", reply=Reply())

    assert store.path(session.id) == (question, right)
    assert store.select(left.id) == (question, left, left_question, left_old)
    assert store.select(right.id) == (question, right)
    assert store.select(left_new.id) == (question, left, left_question, left_new)
    assert store.select(question.id) == (question, left, left_question, left_new)


def test_first_messages_may_be_siblings_too(store: Store) -> None:
    session = store.create_session()
    first = store.add_turn(session.id, None, "one")
    second = store.add_turn(session.id, None, "two")

    assert store.path(session.id) == (second,)
    assert store.select(first.id) == (first,)


def test_sessions_come_last_written_first(store: Store) -> None:
    assert store.latest_session() is None
    old, new = store.create_session(title="old"), store.create_session(title="new")
    assert [session.title for session in store.sessions()] == ["new", "old"]

    store.add_turn(old.id, None, "again")

    assert [session.title for session in store.sessions()] == ["old", "new"]
    assert [session.id for session in store.sessions(1)] == [old.id]
    assert store.latest_session() == store.session(old.id)
    assert store.session(new.id).title == "new"


def test_the_title_comes_from_the_first_message_in_one_safe_line(store: Store) -> None:
    session = store.create_session()
    store.add_turn(session.id, None, "", attachments=(Attachment("notes.txt", "one"),))
    assert store.session(session.id).title == "notes.txt"

    session = store.create_session()
    question = store.add_turn(session.id, None, "\x1b[31m" + "long " * 40)
    store.add_turn(session.id, question.id, "reply", reply=Reply())
    assert store.session(session.id).title == "␛[31m" + "long " * 10 + "long…"


def test_a_session_is_renamed_and_given_a_system_prompt(store: Store) -> None:
    session = store.create_session()
    store.rename(session.id, "trains")
    store.set_system(session.id, "Be brief.")
    assert (store.session(session.id).title, store.session(session.id).system) == ("trains", "Be brief.")

    store.add_turn(session.id, None, "a message")
    store.set_system(session.id, None)

    assert (store.session(session.id).title, store.session(session.id).system) == ("trains", None)


def test_a_session_is_found_by_the_beginning_of_its_id(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = iter(["abc234", "abd567", "abc234", "wxyz99"])
    monkeypatch.setattr(Store, "_free_id", lambda self: next(names))
    first, second = store.create_session(), store.create_session()

    assert store.session("abc") == first
    assert store.session("abd567") == second
    with pytest.raises(StoreError, match=r"^2 sessions start with 'ab': abc234, abd567$"):
        store.session("ab")
    with pytest.raises(StoreError, match=r"^no session is called 'abc233': did you mean abc234"):
        store.session("abc233")
    with pytest.raises(StoreError, match=r"^no session is called '%': the latest is abd567$"):
        store.session("%")
    with pytest.raises(StoreError, match=r"^no session is called ''"):
        store.session("")


def test_without_sessions_the_error_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="there are none yet"):
        store.session("abc")


def test_ids_are_six_plain_characters(store: Store) -> None:
    names = {store.create_session().id for _ in range(50)}
    assert len(names) == 50
    assert all(
        len(name) == 6 and name.isalnum() and name[0].isalpha() and not set(name) & set("il01o") for name in names
    )


def test_a_session_goes_with_every_branch_and_no_other_is_touched(store: Store) -> None:
    kept, gone = store.create_session(), store.create_session()
    for session in (kept, gone):
        question = store.add_turn(session.id, None, "one")
        first = store.add_turn(session.id, question.id, "two", reply=Reply())
        store.add_turn(session.id, question.id, "three", reply=Reply())
        store.select(first.id)
    before = (store.session(kept.id), store.turns(kept.id), store.path(kept.id))

    store.remove(gone.id)

    assert [session.id for session in store.sessions()] == [kept.id]
    assert store.turns(gone.id) == ()
    assert (store.session(kept.id), store.turns(kept.id), store.path(kept.id)) == before


def test_lengths_count_the_messages_of_the_selected_paths(store: Store) -> None:
    long, short, empty = (store.create_session() for _ in range(3))
    question = store.add_turn(long.id, None, "one")
    other = store.add_turn(long.id, question.id, "two", reply=Reply())
    chosen = store.add_turn(long.id, question.id, "three", reply=Reply())
    store.add_turn(long.id, chosen.id, "four")
    store.add_turn(short.id, None, "one")

    assert store.lengths() == {long.id: 3, short.id: 1}
    assert empty.id not in store.lengths()
    store.select(other.id)
    assert store.lengths()[long.id] == 2


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    session = store.create_session(title="kept")

    def fail_within() -> None:
        with store.transaction():
            store.add_turn(session.id, None, "lost")
            store.create_session(title="lost")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()

    assert store.turns(session.id) == ()
    assert store.sessions() == (session,)
    assert store.add_turn(session.id, None, "next").content == "next"


def test_a_turn_of_no_session_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="what this follows was removed"):
        store.add_turn("nobody", None, "hi")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_files_are_private(store: Store) -> None:
    store.create_session()
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in store.file.parent.iterdir()}
    assert modes == dict.fromkeys(("sessions.db", "sessions.db-wal", "sessions.db-shm"), 0o600)
    assert stat.S_IMODE(store.file.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_file_that_others_could_read_is_made_private(store: Store) -> None:
    store.close()
    store.file.chmod(0o644)
    Store(store.file).close()
    assert stat.S_IMODE(store.file.stat().st_mode) == 0o600


def test_commits_outlive_a_power_cut(store: Store) -> None:
    connection = store._connection._connection
    pragmas = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}


def test_threads_may_write_at_once(store: Store) -> None:
    session = store.create_session()

    def write(name: str) -> None:
        for number in range(20):
            store.add_turn(session.id, None, f"{name} {number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(turn.content for turn in store.turns(session.id)) == sorted(
        f"{n} {i}" for n in "abcd" for i in range(20)
    )


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    session = store.create_session()
    other = sqlite3.connect(store.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE session SET title = 'half'")

    assert store.session(session.id).title == ""
    other.close()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=30, deadline=None)
@given(
    content=texts,
    files=st.lists(st.builds(Attachment, texts, texts), max_size=3).map(tuple),
    tokens=st.lists(st.integers(0, 2**31 - 1), max_size=20).map(tuple),
    asked=st.builds(
        SamplingParams,
        temperature=st.none() | st.floats(0, 100),
        seed=st.none() | st.integers(-1, 2**32 - 2),
        stop=st.none() | st.lists(texts.filter(bool), max_size=3).map(tuple),
    ),
    error=st.none() | texts,
)
def test_any_turn_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    content: str,
    files: tuple[Attachment, ...],
    tokens: tuple[int, ...],
    asked: SamplingParams,
    error: str | None,
) -> None:
    store = Store(tmp_path_factory.mktemp("any") / "sessions.db")
    session = store.create_session()
    question = store.add_turn(session.id, None, content, attachments=files)
    reply = store.add_turn(session.id, question.id, content, reply=Reply(tokens=tokens, asked=asked, error=error))
    found = store.path(session.id)
    store.close()

    assert found == (question, reply)
    assert (found[0].content, found[0].attachments) == (content, files)
    assert found[1].reply == Reply(tokens=tokens, asked=asked, error=error)
