"""A chat whose replies must look like something: asked for, kept with the reply, and taken away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.backends import Constraint, Failed
from lmlab.errors import ConstraintError, UsageError
from lmlab.lab import slash

YES_OR_NO = 'root ::= "yes" | "no"'


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path, auto=True)
    desk.open()
    return desk


def test_replies_follow_the_grammar_until_it_is_taken_away(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "yes.gbnf").write_text(YES_OR_NO, encoding="utf-8")
    said = slash.run(desk.chat, f"/grammar {tmp_path / 'yes.gbnf'}")
    assert "follow the grammar" in said.lines[0]
    desk.chat.send("Is it?")
    desk.chat.regenerate()
    slash.run(desk.chat, "/grammar -")
    desk.chat.send("And now?")
    held = Constraint("gbnf", YES_OR_NO)
    assert [request.constraint for request in desk.backends[-1].requests] == [held, held, None]
    kept = desk.store.path(desk.chat.session.id)
    assert [turn.reply.constraint for turn in kept if turn.reply] == [held, None]


def test_a_schema_may_be_typed(desk: Desk) -> None:
    slash.run(desk.chat, '/schema {"type": "object"}')
    assert desk.chat.constraint == Constraint("json-schema", '{"type": "object"}')
    with pytest.raises(ConstraintError, match=r'/schema: \$.type: "strin" is not a type'):
        slash.run(desk.chat, '/schema {"type": "strin"}')
    with pytest.raises(UsageError, match="/schema: this is no JSON"):
        slash.run(desk.chat, "/schema {broken")
    with pytest.raises(UsageError, match="cannot read it"):
        slash.run(desk.chat, "/grammar missing.gbnf")
    assert desk.chat.constraint == Constraint("json-schema", '{"type": "object"}')


def test_a_file_may_be_named_in_quotes(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "yes or no.gbnf").write_text(YES_OR_NO, encoding="utf-8")
    slash.run(desk.chat, f'/grammar "{tmp_path / "yes or no.gbnf"}"')
    assert desk.chat.constraint == Constraint("gbnf", YES_OR_NO)
    slash.run(desk.chat, "/schema '{}'")
    assert desk.chat.constraint == Constraint("json-schema", "{}")


def test_what_is_not_a_short_file_is_refused_before_it_holds_anything_up(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "long.gbnf").write_text("#" * (2**20 + 1), encoding="utf-8")
    with pytest.raises(UsageError, match="longer than 1,048,576 characters"):
        slash.run(desk.chat, f"/grammar {tmp_path / 'long.gbnf'}")
    with pytest.raises(UsageError, match="no ordinary file"):
        slash.run(desk.chat, f"/schema {os.devnull}")


@pytest.mark.parametrize("line", ["/grammar {file}", "/schema {{}}"])
def test_one_that_no_reply_can_be_held_to_says_the_way_out(desk: Desk, tmp_path: Path, line: str) -> None:
    (tmp_path / "no.gbnf").write_text(YES_OR_NO, encoding="utf-8")
    slash.run(desk.chat, line.format(file=tmp_path / "no.gbnf"))
    backend = desk.backends[-1]
    backend.auto = False
    desk.chat.send("Is it?")
    backend.emit(Failed(backend.requests[-1].id, ConstraintError("it is too ambiguous")))
    command = line.split()[0]
    failed = [event for event in desk.events if isinstance(event, Failed)]
    assert [str(event.error) for event in failed] == [
        f"it is too ambiguous; {command} FILE gives another, {command} - none"
    ]


def test_a_new_session_says_what_stays(desk: Desk, tmp_path: Path) -> None:
    slash.run(desk.chat, "/schema {}")
    slash.run(desk.chat, "/template sentiment")
    said = slash.run(desk.chat, "/clear").lines
    assert "messages still go through sentiment, zero-shot; /template - ends that" in said
    assert "replies still are JSON that fits the schema; /schema - lifts that" in said
    slash.run(desk.chat, "/schema -")
    slash.run(desk.chat, "/template -")
    assert slash.run(desk.chat, "/clear").lines == ("a new session",)
