"""The command palette: its order, what it runs, and what leaving it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.command import CommandList
from textual.pilot import Pilot

from lmlab.lab import slash
from lmlab.tui import run_chat
from lmlab.tui.app import ChatApp
from lmlab.tui.palette import offers
from lmlab.tui.screens import VIEWS


async def open_palette(desk: Desk, pilot: Pilot[Any]) -> CommandList:
    await pilot.press("ctrl+p")
    await desk.wait_until(pilot, lambda: "Regenerate" in screen_text(pilot.app))
    return pilot.app.screen.query_one(CommandList)


def titles(found: CommandList) -> list[str]:
    return [option.hit.text or "" for option in found.options]  # type: ignore[attr-defined]


async def test_what_is_wanted_most_is_first_and_leaving_last(desk: Desk) -> None:
    async with desk.run() as pilot:
        found = await open_palette(desk, pilot)
        assert titles(found) == [offer.title for offer in offers(pilot.app)]
        assert titles(found)[:3] == ["Sampling", "Regenerate", "Tokens"]
        assert titles(found)[-1] == "Quit"
        await desk.wait_until(pilot, lambda: found.highlighted == 0)
        await pilot.press("enter")
        await desk.wait_until(pilot, lambda: pilot.app.focused is pilot.app.panel)
        assert pilot.app.is_running


async def test_leaving_comes_after_whatever_else_matches(desk: Desk) -> None:
    async with desk.run() as pilot:
        found = await open_palette(desk, pilot)
        await pilot.press("i")
        await desk.wait_until(pilot, lambda: len(titles(found)) < len(offers(pilot.app)))
        await desk.wait_until(pilot, lambda: titles(found)[-1:] == ["Quit"])
        assert len(titles(found)) > 1


async def test_a_command_with_arguments_is_begun_in_an_empty_input(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        model = next(offer for offer in offers(app) if offer.title == "/model")
        model.act()
        assert app.prompt.text == "/model "
        model.act()
        await pilot.pause()
        assert "the input is not empty" in screen_text(app)


async def test_over_a_view_what_acts_on_the_chat_goes_back_to_it_first(desk: Desk) -> None:
    desk.remember_turns(2)
    async with desk.run() as pilot:
        app = pilot.app
        by_title = {offer.title: offer for offer in offers(app)}
        for title in ("/best-of", "Sampling", "New session"):
            await pilot.press("f3")
            await desk.wait_until(pilot, lambda: app.screen.id != "_default")
            app.call_later(by_title[title].act)
            await desk.wait_until(pilot, lambda: app.screen.id == "_default")
        await desk.wait_until(pilot, lambda: not app.chat.turns)
        assert app.prompt.text == "/best-of "


@pytest.mark.parametrize("cover", ["f1", "ctrl+p"])
@pytest.mark.parametrize("view", ["f4", "f3", "ctrl+t"])
async def test_what_covers_a_view_does_not_let_keys_act_on_the_chat_below(desk: Desk, view: str, cover: str) -> None:
    desk.remember_turns(2)
    async with desk.run() as pilot:
        before = pilot.app.chat.turns  # type: ignore[attr-defined]
        await pilot.press(view)
        await pilot.pause()
        await pilot.press(cover)
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 3
        await pilot.press("ctrl+l", "ctrl+r")
        await pilot.press("escape")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 2
        assert pilot.app.chat.turns == before  # type: ignore[attr-defined]


async def test_there_is_one_palette_also_below_the_help(desk: Desk) -> None:
    async with desk.run() as pilot:
        await open_palette(desk, pilot)
        await pilot.press("f1", "ctrl+p")
        await pilot.pause()
        assert [type(screen).__name__ for screen in pilot.app.screen_stack[1:]] == ["CommandPalette", "HelpScreen"]
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert len(pilot.app.screen_stack) == 1


async def test_every_command_is_offered(desk: Desk) -> None:
    async with desk.run() as pilot:
        offered = {offer.title for offer in offers(pilot.app)}
        under_another_name = {"/regen": "Regenerate", "/help": "Help", "/bye": "Quit", "/clear": "New session"}
        under_another_name |= {f"/{name}": name.capitalize() for name in VIEWS}
        for command in slash.COMMANDS:
            name = f"/{command.names[0]}"
            assert under_another_name.get(name, name) in offered


@pytest.mark.parametrize("turns", [0, 1])
def test_leaving_says_how_to_go_on_when_something_was_said(
    desk: Desk, turns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    session = desk.remember_turns(turns)
    monkeypatch.setattr(ChatApp, "run", lambda app, **how: 0)
    chat = desk.app().chat
    assert run_chat(lambda listener: chat, model_ref=None, theme=None, history=tmp_path / "history") == 0
    line = f"session {session.id} is saved: lmlab chat --session {session.id}\n"
    assert capsys.readouterr().err == (line if turns else "")
