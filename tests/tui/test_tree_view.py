from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.pilot import Pilot

from lmlab.store import Branch, Candidacy, Reply, Turn
from lmlab.tui.app import ChatApp
from lmlab.tui.screens.tree import TreeView
from lmlab.tui.widgets.tree import TreeRows

MakeDesk = Callable[..., Desk]


def answered(desk: Desk, question: Turn, text: str, **facts: Any) -> Turn:
    made = Reply(
        status="done", finish_reason="stop", model="smollm2", fingerprint="fingerprint", tokens=(1, 2), **facts
    )
    return desk.store.add_turn(question.session, question.id, text, reply=made)


def plant(desk: Desk) -> list[Turn]:
    """A question with three replies; below the second two questions, of which the later was answered twice."""
    session = desk.store.create_session()
    first = desk.store.add_turn(session.id, None, "If a train leaves at 3 and takes two hours, when does it arrive?")
    replies = [
        answered(desk, first, text, candidate=Candidacy(index, 3))
        for index, text in enumerate(("It arrives at 6, I should think.", "It arrives at **5**.", "At 5."))
    ]
    sure = desk.store.add_turn(session.id, replies[1].id, "Are you sure?")
    yes = answered(desk, sure, "Yes. Three and two make five.\n\nSo it arrives at five o'clock.")
    late = desk.store.add_turn(session.id, replies[1].id, "And if it is an hour late?")
    then = answered(desk, late, "Then at 6.")
    last = answered(desk, late, "Then at six, an hour late.", branch=Branch(then.id, 2))
    desk.session = desk.store.session(session.id)
    return [first, *replies, sure, yes, late, then, last]


def app_of(pilot: Pilot[Any]) -> ChatApp:
    assert isinstance(pilot.app, ChatApp)
    return pilot.app


def path(pilot: Pilot[Any]) -> list[str]:
    return [turn.content for turn in app_of(pilot).chat.turns]


def at(pilot: Pilot[Any]) -> int:
    """The id of the turn at the cursor."""
    row = pilot.app.screen.query_one(TreeRows).row
    assert row is not None
    return row.turn.id


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


async def test_without_messages_there_is_no_tree(desk: Desk) -> None:
    async with desk.run() as pilot:
        await press(pilot, "f3")

        assert not isinstance(pilot.app.screen, TreeView)
        assert "there is no tree yet: send a message first" in screen_text(pilot.app)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_it_shows_every_message_and_begins_where_one_is(desk: Desk, size: tuple[int, int]) -> None:
    turns = plant(desk)
    async with desk.run(size) as pilot:
        await press(pilot, "f3")

        shown = screen_text(pilot.app)
        for said in (
            "when does it arr",
            "It arrives at 6",
            "It arrives at **5**.",
            "At 5.",
            "Are you sure?",
            "Then at 6.",
        ):
            assert said in shown
        assert "9 messages, 5 branches" in shown
        assert "2 of 2 · from token 3 · Then at six" in shown
        assert at(pilot) == turns[-1].id
        await press(pilot, "escape")
        assert not isinstance(pilot.app.screen, TreeView)


async def test_the_arrows_walk_and_jump_between_branches(desk: Desk) -> None:
    first, r1, r2, r3, _, yes, late, then, last = plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home")
        assert at(pilot) == first.id
        await press(pilot, "down", "down")
        assert at(pilot) == r3.id
        await press(pilot, "left")
        assert at(pilot) == r2.id
        await press(pilot, "left")
        assert at(pilot) == r1.id
        await press(pilot, "right")
        assert at(pilot) == r2.id
        await press(pilot, "end", "right", "right")
        assert at(pilot) == last.id
        await press(pilot, "left")
        assert at(pilot) == then.id
        await press(pilot, "left")
        assert at(pilot) == late.id
        await press(pilot, "pageup", "up")
        assert at(pilot) == first.id
        await press(pilot, "down", "down", "down", "down", "down")
        assert at(pilot) == yes.id
        assert "So it arrives at five o'clock." in screen_text(pilot.app)


async def test_enter_goes_on_from_there(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home", "down", "down", "enter")

        assert not isinstance(pilot.app.screen, TreeView)
        assert path(pilot)[1:] == ["At 5."]
        assert "At 5." in screen_text(pilot.app)
        assert "an hour late" not in screen_text(pilot.app)
        await desk.send(pilot, "Sure?")
        assert path(pilot)[1:3] == ["At 5.", "Sure?"]


async def test_a_fork_lets_the_next_message_follow_there(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home", "down", "down", "down", "f")

        assert path(pilot)[1:] == ["It arrives at **5**."]
        assert 'your next message follows "It arrives at **5**."' in screen_text(pilot.app)


@pytest.mark.parametrize("key", ["f", "enter"])
async def test_going_on_from_elsewhere_ends_an_edit(desk: Desk, key: str) -> None:
    plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        mine = [turn for turn in app.chat.turns if turn.reply is None]
        app.prompt.insert("a draft")
        app.begin_edit(mine[-1])
        await press(pilot, "f3", "home", "down", key)
        assert app.editing.turn is None
        assert app.prompt.text == "a draft"


async def test_while_a_reply_streams_the_key_that_stops_it_is_said(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "Hello")
        await press(pilot, "f3")
        assert "ctrl+c stop" in screen_text(pilot.app)
        await press(pilot, "ctrl+c")
        await desk.settle(pilot)
        assert "ctrl+c stop" not in screen_text(pilot.app)


async def test_a_chat_whose_end_another_program_pruned_goes_on_from_what_is_left(desk: Desk) -> None:
    desk.remember_turns(2)
    async with desk.run() as pilot:
        app = app_of(pilot)
        desk.store.prune(app.chat.turns[-2].id)
        app.prompt.insert("And then?")
        await press(pilot, "enter")
        assert "go on from another message of the tree" in " ".join(screen_text(app).split())
        assert app.prompt.text == "And then?"
        await press(pilot, "f3", "end", "enter", "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert path(pilot)[:3] == ["message 0", "reply 0", "And then?"]


async def test_an_edit_whose_place_was_pruned_is_kept_until_that_is_back(desk: Desk) -> None:
    turns = plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        app.begin_edit(turns[6])
        app.prompt.insert(" Really?")
        await press(pilot, "f3", "home", "d", "escape", "enter")
        assert "what this follows was removed" in screen_text(app)
        assert "Really?" in app.prompt.text
        await press(pilot, "f3", "u", "escape", "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert app.chat.turns[-2].content == "And if it is an hour late? Really?"


async def test_an_edited_message_comes_back_to_the_composer_and_is_sent_beside_the_old_one(desk: Desk) -> None:
    turns = plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        app.prompt.insert("a draft")
        await press(pilot, "f3", "home", "e")

        assert app.prompt.text == turns[0].content
        assert "edit ›" in screen_text(pilot.app)
        assert "what you send goes beside it" in screen_text(pilot.app)
        app.prompt.recall("When does it leave?")
        await press(pilot, "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert path(pilot)[0] == "When does it leave?"
        assert [turn.content for turn in app.chat.siblings(turns[0])] == [turns[0].content, "When does it leave?"]
        assert app.prompt.text == "a draft"
        assert "edit ›" not in screen_text(pilot.app)
        desk.backend.finish()
        await desk.settle(pilot)
        assert "A fake reply." in screen_text(pilot.app)


async def test_escape_gives_an_edit_up_and_brings_the_draft_back(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        app.prompt.insert("a draft")
        await press(pilot, "f3", "home", "e", "escape")

        assert app.prompt.text == "a draft"
        assert "edit ›" not in screen_text(pilot.app)
        await press(pilot, "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert path(pilot)[-2] == "a draft"


async def test_a_message_that_begins_with_a_slash_is_edited_as_one(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "//x")
        desk.backend.finish()
        await desk.settle(pilot)
        await press(pilot, "f3", "home", "e")
        app_of(pilot).prompt.insert("y")
        await press(pilot, "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))

        assert path(pilot)[0] == "/xy"


async def test_a_command_ends_an_edit(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        await press(pilot, "f3", "home", "e")
        app.prompt.recall("/clear")
        await press(pilot, "enter")

        assert app.chat.turns == ()
        assert (app.prompt.text, app.editing.turn) == ("", None)


async def test_the_edit_command_brings_a_message_back_too(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        app.prompt.insert("/edit 5")
        await press(pilot, "enter")
        assert app.prompt.text == "Are you sure?"
        app.prompt.recall("/edit 5 Really?")
        await press(pilot, "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert path(pilot)[2] == "Really?"


async def test_a_reply_is_not_edited(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3", "e")

        assert "a reply cannot be edited" in screen_text(pilot.app)
        assert isinstance(pilot.app.screen, TreeView)


async def test_what_is_pruned_can_be_brought_back(desk: Desk) -> None:
    turns = plant(desk)
    async with desk.run() as pilot:
        app = app_of(pilot)
        before = app.chat.turns
        await press(pilot, "f3", "u")
        assert "there is nothing to bring back" in screen_text(pilot.app)
        await press(pilot, "up", "up", "d")

        shown = screen_text(pilot.app)
        assert "3 messages are gone: u brings back what was there" in shown
        assert "6 messages, 3 branches" in shown
        assert "hour late" not in shown
        assert path(pilot)[2:] == ["Are you sure?", turns[5].content]
        await press(pilot, "u")
        assert "3 messages are back" in screen_text(pilot.app)
        assert app.chat.turns == before
        assert at(pilot) == turns[6].id


async def test_a_tree_that_is_pruned_bare_can_be_brought_back(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home", "d")
        assert "0 messages" in screen_text(pilot.app)
        await press(pilot, "d", "e", "f", "enter", "up", "left", "escape", "f3", "u")

        assert "9 messages" in screen_text(pilot.app)
        assert len(path(pilot)) == 4


async def test_a_reply_grows_in_the_tree_and_what_it_belongs_to_stays(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        desk.backend.script(["Four", " and", " a half"])
        await desk.send(pilot, "When exactly?")
        await press(pilot, "f3")
        desk.backend.step(3)
        await desk.settle(pilot)
        assert "Four and" in screen_text(pilot.app)
        assert "cut off" not in screen_text(pilot.app)
        await press(pilot, "d")
        assert "a reply is under way there: stop it first" in screen_text(pilot.app)
        await press(pilot, "home", "down", "enter")
        assert "a reply is under way: stop it first" in screen_text(pilot.app)
        await press(pilot, "d")
        assert "1 message is gone" in screen_text(pilot.app)
        desk.backend.finish()
        await desk.settle(pilot)
        assert "Four and a half" in screen_text(pilot.app)


async def test_the_mouse_walks_and_a_second_click_goes_on_from_there(desk: Desk) -> None:
    plant(desk)
    async with desk.run() as pilot:
        await press(pilot, "f3")
        await pilot.click(TreeRows, offset=(30, 2))
        await pilot.pause()
        assert isinstance(pilot.app.screen, TreeView)
        assert at(pilot) == 4
        await pilot.click(TreeRows, offset=(30, 20))
        await pilot.click(TreeRows, offset=(30, 2))
        await pilot.pause()

        assert not isinstance(pilot.app.screen, TreeView)
        assert path(pilot)[1:] == ["At 5."]


async def test_hostile_text_is_shown_as_text(desk: Desk) -> None:
    session = desk.store.create_session()
    question = desk.store.add_turn(session.id, None, "[bold]x[/bold] \x1b[31mred\x1b[0m\r\nnext")
    answered(desk, question, "")
    desk.session = desk.store.session(session.id)
    async with desk.run() as pilot:
        await press(pilot, "f3", "up")

        shown = screen_text(pilot.app)
        assert "[bold]x[/bold]" in shown
        assert "\x1b" not in shown
        assert "nothing was said" in shown


async def test_a_deep_branch_stays_in_sight_and_says_how_deep_it_is(desk: Desk) -> None:
    session = desk.store.create_session()
    top = desk.store.add_turn(session.id, None, "top").id
    # Each reply is left for a newer one beside it, from the deepest up: every level is a branch of its own.
    line = [top]
    for number in range(16):
        turn = desk.store.add_turn(session.id, line[-1], f"level {number}", reply=Reply(status="done", model="m"))
        line.append(turn.id)
    for parent in reversed(line[:-1]):
        desk.store.add_turn(session.id, parent, "beside", reply=Reply(status="done", model="m"))
    desk.session = desk.store.session(session.id)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home", *["down"] * 16)

        assert "»16" in screen_text(pilot.app)
        assert "level 15" in screen_text(pilot.app)


async def test_a_tree_of_hundreds_of_messages_is_walked_line_by_line(desk: Desk) -> None:
    desk.remember_turns(300)
    async with desk.run() as pilot:
        await press(pilot, "f3", "home")
        assert "message 0" in screen_text(pilot.app)
        await press(pilot, "end")
        assert "reply 299" in screen_text(pilot.app)
        await press(pilot, "pageup")
        assert "600 messages, 1 branch " in screen_text(pilot.app)


@pytest.mark.parametrize(("size", "theme"), [((80, 24), None), ((120, 36), "light")], ids=["small", "wide-light"])
def test_it_looks_intended(make_desk: MakeDesk, snap_compare: Any, size: tuple[int, int], theme: str | None) -> None:
    desk = make_desk(theme=theme)
    plant(desk)

    async def prepare(pilot: Pilot[Any]) -> None:
        await desk.wait_until(pilot, lambda: bool(desk.backends))
        desk.backend.ready()
        await desk.settle(pilot)
        await press(pilot, "f3", "up", "up", "d", "down", "u", "up", "up")

    assert snap_compare(desk.app(), terminal_size=size, run_before=prepare)
