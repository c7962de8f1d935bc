from __future__ import annotations

import pytest
from chat_harness import Desk

from lmlab.errors import UsageError
from lmlab.lab.slash import asks, run


def talk(desk: Desk, *messages: str) -> None:
    """Each message gets a reply that names it."""
    backend = desk.open()
    for message in messages:
        backend.script(f"re {message}")
        desk.chat.send(message)
        backend.finish()


def said(desk: Desk) -> list[str]:
    return [turn.content for turn in desk.chat.turns]


def test_the_tree_is_listed_with_numbers_that_other_commands_take(desk: Desk) -> None:
    talk(desk, "q", "two")
    desk.chat.edit(desk.chat.turns[2], "other\nlines")
    desk.backends[-1].finish()

    result = run(desk.chat, "/tree")

    assert (result.action, result.view) == ("none", "tree")
    assert result.lines == (
        "› 1  you: q",
        "› 2  fake: re q",
        "  3    you (1 of 2): two",
        "  4    fake: re two",
        "› 5  you (2 of 2): other lines",
        "› 6  fake: A fake reply.",
        "/tree K goes on from message K",
    )
    assert run(desk.chat, "/tree 4").action == "moved"
    assert said(desk) == ["q", "re q", "two", "re two"]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("/edit other", ["q", "re q", "other", "A fake reply."]),
        ("/edit 1 other", ["other", "A fake reply."]),
        ("/edit 3 2 plus 2?", ["q", "re q", "2 plus 2?", "A fake reply."]),
    ],
)
def test_editing_sends_another_wording(desk: Desk, line: str, path: list[str]) -> None:
    talk(desk, "q", "two")

    assert asks(line)
    assert run(desk.chat, line).action == "resent"
    desk.backends[-1].finish()

    assert said(desk) == path


@pytest.mark.parametrize(("line", "number", "text"), [("/edit", 3, "two"), ("/edit 1", 1, "q")])
def test_editing_without_a_text_gives_the_message_to_be_edited(desk: Desk, line: str, number: int, text: str) -> None:
    talk(desk, "q", "two")

    result = run(desk.chat, line)

    assert not asks(line)
    assert result.action == "edit"
    assert result.turn is not None
    assert result.turn.content == text
    assert result.lines == (f'message {number} is "{text}"', f"/edit {number} TEXT sends TEXT beside it")


def test_forking_goes_back_behind_the_last_message_or_to_a_reply(desk: Desk) -> None:
    talk(desk, "q", "two", "three")

    assert run(desk.chat, "/fork").lines == ('your next message follows "re two"',)
    assert said(desk) == ["q", "re q", "two", "re two"]
    assert run(desk.chat, "/fork 2").action == "moved"
    assert said(desk) == ["q", "re q"]
    with pytest.raises(UsageError, match="there is no earlier reply to go on from"):
        run(desk.chat, "/fork")


def test_pruning_and_taking_it_back(desk: Desk) -> None:
    talk(desk, "q", "two")

    assert run(desk.chat, "/prune 3").lines == ("2 messages are gone: /undo brings back what was there",)
    assert said(desk) == ["q", "re q"]
    assert run(desk.chat, "/prune 2").lines == ("1 message is gone: /undo brings back what was there",)
    assert run(desk.chat, "/undo").lines == ("it is back",)
    result = run(desk.chat, "/undo")
    assert (result.lines, result.action) == (("2 messages are back",), "moved")
    assert said(desk) == ["q", "re q", "two", "re two"]
    with pytest.raises(UsageError, match="there is nothing to bring back"):
        run(desk.chat, "/undo")


def test_pruning_beside_a_reply_that_streams_moves_nothing(desk: Desk) -> None:
    talk(desk, "q")
    desk.chat.regenerate()

    assert run(desk.chat, "/prune 2").action == "none"
    assert desk.chat.replying


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/tree 9", "there is no message 9: give a number from 1 to 2, as /tree has it"),
        ("/prune 0", "there is no message 0: give a number from 1 to 2"),
        ("/prune two", "there is no message two"),
        ("/prune", "/prune needs a number: /tree lists the messages with theirs"),
        ("/fork 1", "that is your own message: edit it, or fork after a reply"),
        ("/edit 2", "message 2 is a reply: edit one of your own"),
        ("/edit 2 x", "a reply cannot be edited"),
        ("/undo 1", "/undo takes no arguments"),
        ("/rename", "a session needs a title: give one"),
        ("/tokens 1", "/tokens takes no arguments"),
    ],
)
def test_what_cannot_be_done_is_told(desk: Desk, line: str, problem: str) -> None:
    talk(desk, "q")

    with pytest.raises(UsageError) as caught:
        run(desk.chat, line)

    assert str(caught.value).startswith(problem)
    assert said(desk) == ["q", "re q"]


@pytest.mark.parametrize("line", ["/tree", "/edit", "/edit 1", "/fork", "/prune 1"])
def test_before_anything_was_said_there_is_nothing_to_walk(desk: Desk, line: str) -> None:
    with pytest.raises(UsageError, match=r"yet: send one first|no earlier reply"):
        run(desk.chat, line)


def test_a_session_is_renamed(desk: Desk) -> None:
    talk(desk, "q")

    assert run(desk.chat, "/rename On trains").lines == ("the session is called On trains",)


def test_views_are_opened_where_there_is_a_screen_and_named_where_there_is_none(desk: Desk) -> None:
    for view in ("tokens", "prompt", "sessions"):
        result = run(desk.chat, f"/{view}")
        assert result.view == view
        assert result.lines[0] == "that is a view of the screen: start lmlab chat in a terminal, without --plain"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("//x", True),
        ("/regen", True),
        ("/regen x", False),
        ("/EDIT x", True),
        ("/set", False),
        ("/", False),
        ("/zzz", False),
    ],
)
def test_which_commands_ask_for_a_reply(line: str, expected: bool) -> None:
    assert asks(line) is expected
