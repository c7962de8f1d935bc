"""Keys: what the config may say, what it may not, and that the screen, its hints, palette and help go by them."""

from __future__ import annotations

import pytest
from screen_harness import Desk, screen_text
from textual.command import CommandList

from lmlab.errors import UsageError
from lmlab.tui.keymap import Keymap
from lmlab.tui.keys import ACTIONS, Hint, Situation, help_sections, hints, keymap
from lmlab.tui.palette import offers
from lmlab.tui.screens import VIEWS, ChatView, HelpScreen
from lmlab.tui.view_keys import view_sections


def test_the_defaults_are_each_action_s_own_and_stand_every_check() -> None:
    keys = keymap()
    assert {action.id: keys.keys(action.id) for action in ACTIONS} == {action.id: (action.key,) for action in ACTIONS}
    assert Keymap(ACTIONS, {action.id: [action.key] for action in ACTIONS}).for_textual() == keys.for_textual()


def test_each_view_has_an_action_that_opens_it() -> None:
    assert {action.id: action.run for action in ACTIONS if action.id in VIEWS} == {
        name: f"view({name!r})" for name in VIEWS
    }


@pytest.mark.parametrize(
    ("written", "key", "textual"),
    [
        ("ctrl+k", "ctrl+k", "ctrl+k"),
        (" CTRL + K", None, None),
        ("Ctrl+K", "ctrl+k", "ctrl+k"),
        ("shift+ctrl+F5", "ctrl+shift+f5", "ctrl+shift+f5"),
        ("control+]", "ctrl+]", "ctrl+right_square_bracket"),
        ("ctrl+/", "ctrl+/", "ctrl+slash"),
        ("alt++", "alt++", "alt+plus"),
        ("alt+-", "alt+-", "alt+minus"),
        ("option+x", "alt+x", "alt+x"),
        ("ctrl+space", "ctrl+space", "ctrl+@,ctrl+space"),
        ("ctrl+pgdn", "ctrl+pagedown", "ctrl+pagedown"),
        ("insert", "insert", "insert"),
    ],
)
def test_a_key_has_one_spelling_and_textual_s_name(written: str, key: str | None, textual: str | None) -> None:
    if key is None or textual is None:
        with pytest.raises(UsageError, match="no key is called"):
            keymap({"tokens": [written]})
        return
    keys = keymap({"tokens": [written, written]})
    assert keys.keys("tokens") == (key,)
    assert keys.for_textual()["tokens"] == textual


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"token": ["f5"]}, "no action is called 'token': did you mean tokens? there are regenerate, tokens"),
        ({"\x1b[2J": ["f5"]}, "no action is called '␛[2J': there are regenerate"),
        ({"tokens": []}, "tokens has no key: give it one, such as ctrl+t"),
        ({"tokens": [""]}, "tokens: no key is called '': write it as ctrl+t, alt+x, f5 or shift+f5"),
        ({"tokens": ["f25"]}, "no key is called 'f25'"),
        ({"tokens": ["ctrl-t"]}, "no key is called 'ctrl-t'"),
        ({"tokens": ["ctrl+"]}, "no key is called 'ctrl+'"),
        ({"tokens": ["hold+t"]}, "no key is called 'hold+t'"),
        ({"tokens": ["é"]}, "no key is called 'é'"),
        ({"tokens": ["t"]}, "tokens cannot have the key t, it types a character: choose another"),
        ({"tokens": ["shift+t"]}, "the key shift+t, it types a character"),
        ({"tokens": ["space"]}, "the key space, it types a character"),
        ({"tokens": ["enter"]}, "the key enter, writing and moving about need it"),
        ({"tokens": ["shift+pgup"]}, "the key shift+pageup, writing and moving about need it"),
        ({"tokens": ["shift+enter"]}, "the key shift+enter, it begins a new line"),
        ({"tokens": ["ctrl+m"]}, "the key ctrl+m, terminals send it for enter"),
        ({"tokens": ["ctrl+d"]}, "the key ctrl+d, it deletes, and quits"),
        ({"tokens": ["ctrl+r"]}, "ctrl+r is the key of both regenerate and tokens: give one of them another"),
        ({"tree": ["f9"], "quit": ["alt+q", "f9"]}, "f9 is the key of both tree and quit"),
    ],
)
def test_what_cannot_be_is_one_line(chosen: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        keymap(chosen)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_actions_may_exchange_their_keys() -> None:
    keys = keymap({"tokens": ["f3"], "tree": ["ctrl+t"]})
    assert (keys.first("tokens"), keys.first("tree")) == ("f3", "ctrl+t")


def test_hints_and_help_say_the_keys_there_are() -> None:
    keys = keymap({"regenerate": ["alt+r", "f6"], "help": ["f12"], "interrupt": ["alt+c"], "follow": ["f7"]})
    shown = hints(Situation(can_regenerate=True), keys)
    assert Hint("alt+r", "again") in shown
    assert Hint("f12", "help") in shown
    assert hints(Situation(selected=True), keys)[0] == Hint("alt+c", "copy")
    assert Hint("f7", "follow") in hints(Situation(in_panel=True, following=False), keys)
    entries = {hint.key: hint.text for _, section in help_sections(keys) for hint in section}
    assert entries["alt+r, f6"] == "regenerate: another reply to the last message"
    assert entries["mouse"] == "click or wheel on a bar"
    assert {"ctrl+r", "f1", "ctrl+c", "ctrl+end"}.isdisjoint(entries)


def test_the_help_has_every_action() -> None:
    texts = " ".join(hint.text for _, section in help_sections(keymap()) for hint in section)
    keys = {hint.key for _, section in help_sections(keymap()) for hint in section}
    assert {action.key for action in ACTIONS} <= keys
    assert all(action.id in texts for action in ACTIONS)


async def test_the_screen_goes_by_the_keys_of_the_config(desk: Desk) -> None:
    keys = keymap({"help": ["f12", "alt+h"], "palette": ["f8"], "tokens": ["f1"], "quit": ["alt+q"]})
    desk.remember_turns(1)
    async with desk.run(size=(120, 36), keys=keys) as pilot:
        assert "f12 help" in screen_text(pilot.app)
        assert "f8 palette" in screen_text(pilot.app)
        for key in ("f12", "alt+h"):
            await pilot.press(key)
            assert isinstance(pilot.app.screen, HelpScreen)
            await pilot.press(key)
            assert not isinstance(pilot.app.screen, HelpScreen)
        await pilot.press("ctrl+p", "ctrl+q", "ctrl+t")
        assert pilot.app.is_running
        assert len(pilot.app.screen_stack) == 1
        await pilot.press("f8")
        await desk.wait_until(pilot, lambda: "Regenerate" in screen_text(pilot.app))
        assert pilot.app.screen.query_one(CommandList) is not None
        await pilot.press("escape", "alt+q")
        await desk.wait_until(pilot, lambda: not pilot.app.is_running)


async def test_the_palette_says_the_keys_and_runs_the_actions(desk: Desk) -> None:
    async with desk.run(keys=keymap({"help": ["f12"]})) as pilot:
        found = {offer.title: offer for offer in offers(pilot.app)}
        assert found["Help"].help.endswith(" · f12")
        assert found["Quit"].help.endswith(" · ctrl+q")
        await found["Help"].act()  # type: ignore[misc]
        assert isinstance(pilot.app.screen, HelpScreen)


@pytest.mark.parametrize(("view", "title"), [("f3", "In the tree"), ("ctrl+t", "In tokens"), ("ctrl+o", "In sessions")])
async def test_the_help_begins_with_the_keys_of_the_view_that_is_open(desk: Desk, view: str, title: str) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["A reply"])
        await desk.send(pilot, "Hello")
        desk.backend.finish()
        await desk.settle(pilot)
        await pilot.press(view)
        await desk.wait_until(pilot, lambda: isinstance(pilot.app.screen, ChatView))
        await pilot.press("f1")
        await desk.wait_until(pilot, lambda: title in screen_text(pilot.app))
        assert "Writing" not in screen_text(pilot.app).partition(title)[0]


def test_every_view_has_its_keys_in_the_help() -> None:
    named = [section[0] for name in VIEWS for section in view_sections(name)[:1]]
    assert len(set(named)) == len(VIEWS)
