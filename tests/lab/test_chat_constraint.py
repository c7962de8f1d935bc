"""A chat whose replies must look like something: asked for, kept with the reply, and taken away."""

from __future__ import annotations

from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.backends import Constraint
from lmlab.errors import UsageError
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
    with pytest.raises(UsageError, match="/schema: this is no JSON"):
        slash.run(desk.chat, "/schema {broken")
    with pytest.raises(UsageError, match="cannot read it"):
        slash.run(desk.chat, "/grammar missing.gbnf")
    assert desk.chat.constraint == Constraint("json-schema", '{"type": "object"}')
