"""The candidates view: replies to one message side by side, while they are drawn and after."""

from __future__ import annotations

from typing import Any

from screen_harness import Desk, screen_text
from textual.pilot import Pilot

from lmlab.backends.fake import FakeCandidate
from lmlab.lab.best_of import parse_selector
from lmlab.tui.keys import keymap
from lmlab.tui.screens.candidates import CandidatesView

TEXTS = ("It is 41, or so it seems to me", "It is 42", "Who knows?")


async def begin(desk: Desk, pilot: Pilot[Any], texts: tuple[str, ...] = TEXTS) -> None:
    """Ask for one reply of each of ``texts``; the second is the likeliest."""
    pilot.app.chat.set_best_of(len(texts))  # type: ignore[attr-defined]
    drawn = [FakeCandidate(text, logprob=-0.25 if at == 1 else -1.0 - at) for at, text in enumerate(texts)]
    desk.backend.script_candidates(drawn)
    await desk.send(pilot, "What is it?")


async def finish(desk: Desk, pilot: Pilot[Any], texts: tuple[str, ...] = TEXTS) -> None:
    await begin(desk, pilot, texts)
    desk.backend.finish()
    await desk.settle(pilot)


async def open_view(desk: Desk, pilot: Pilot[Any]) -> CandidatesView:
    await pilot.press("f4")
    await desk.wait_until(pilot, lambda: isinstance(pilot.app.screen, CandidatesView))
    await desk.settle(pilot)
    view = pilot.app.screen
    assert isinstance(view, CandidatesView)
    return view


async def test_without_a_reply_it_says_what_to_do(desk: Desk) -> None:
    async with desk.run() as pilot:
        await pilot.press("f4")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, CandidatesView)
        assert "there is no reply yet: send a message first" in screen_text(pilot.app)


async def test_all_replies_with_scores_the_choice_and_why(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        await finish(desk, pilot)
        await open_view(desk, pilot)
        text = screen_text(pilot.app)
        for expected in (*TEXTS, "What is it?", "3 replies", "2 of 3 ✓ ●", "log-probability -3.000"):
            assert expected in text
        assert "chosen by logprob: the highest" in text
        assert "enter go on" not in text


async def test_enter_goes_on_from_another_one(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        app = pilot.app
        await finish(desk, pilot)
        assert app.chat.turns[-1].content == TEXTS[1]
        await open_view(desk, pilot)
        await pilot.press("3")
        await pilot.pause()
        assert "enter go on from 3" in screen_text(app)
        await pilot.press("enter")
        await desk.settle(pilot)
        assert app.chat.turns[-1].content == TEXTS[2]
        assert not isinstance(app.screen, CandidatesView)
        assert TEXTS[2] in screen_text(app)
        assert TEXTS[1] not in screen_text(app)
        await open_view(desk, pilot)
        text = screen_text(app)
        assert "2 of 3 ✓" in text
        assert "3 of 3 ●" in text


async def test_a_click_on_a_title_goes_on_from_it_and_enter_on_the_same_only_closes(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        app = pilot.app
        await finish(desk, pilot)
        view = await open_view(desk, pilot)
        await pilot.click(view.query("ColumnTitle").first())
        await desk.settle(pilot)
        assert app.chat.turns[-1].content == TEXTS[0]
        await open_view(desk, pilot)
        await pilot.press("enter")
        await desk.settle(pilot)
        assert not isinstance(app.screen, CandidatesView)
        assert app.chat.turns[-1].content == TEXTS[0]


async def test_opened_while_they_are_drawn_it_has_all_so_far_and_follows(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        app = pilot.app
        await begin(desk, pilot)
        desk.backend.step(4)
        await desk.settle(pilot)
        await open_view(desk, pilot)
        text = screen_text(app)
        assert text.count("It is") == 2
        assert "drawing" in text
        await pilot.press("enter")
        await desk.settle(pilot)
        assert "still being drawn" in screen_text(app)
        desk.backend.step(3)
        await desk.settle(pilot)
        assert "log-probability" in screen_text(app)
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(app)
        for expected in (*TEXTS, "2 of 3 ✓ ●", "chosen by logprob", "›2"):
            assert expected in text
        assert "still being drawn" not in text
        await pilot.press("escape")
        await desk.settle(pilot)
        text = screen_text(app)
        assert TEXTS[1] in text
        assert TEXTS[0] not in text


async def test_what_came_while_the_chat_was_covered_is_there_when_it_is_seen_again(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        desk.backend.script(["one ", "two ", "three"])
        await desk.send(pilot, "count")
        desk.backend.step(1)
        await desk.settle(pilot)
        await open_view(desk, pilot)
        desk.backend.finish()
        await desk.settle(pilot)
        assert "one two three" in screen_text(pilot.app)
        await pilot.press("f4")
        await desk.wait_until(pilot, lambda: not isinstance(pilot.app.screen, CandidatesView))
        await desk.wait_until(pilot, lambda: "one two three" in screen_text(pilot.app))
        assert "3 tokens" in screen_text(pilot.app)


async def test_that_they_are_still_drawn_is_said_whole_with_the_key_that_stops_them_until_another_is_chosen(
    desk: Desk,
) -> None:
    async with desk.run((80, 24), keymap({"interrupt": ["alt+x"]})) as pilot:
        pilot.app.chat.set_selector(parse_selector("vote"))  # type: ignore[attr-defined]
        await begin(desk, pilot)
        await open_view(desk, pilot)
        assert "alt+x stop " in screen_text(pilot.app)
        await pilot.press("enter")
        await desk.settle(pilot)
        assert "they are still being drawn: alt+x stops them" in screen_text(pilot.app)
        await pilot.press("right")
        await desk.settle(pilot)
        assert "still being drawn" not in screen_text(pilot.app)
        desk.backend.finish()
        await desk.settle(pilot)


async def test_stopping_in_the_view_leaves_what_had_come(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        await begin(desk, pilot)
        desk.backend.step(4)
        await desk.settle(pilot)
        await open_view(desk, pilot)
        assert "ctrl+c stop" in screen_text(pilot.app)
        await pilot.press("ctrl+c")
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert text.count("stopped") >= 2
        assert "ctrl+c stop" not in text


async def test_a_reply_drawn_again_stands_beside_those_before(desk: Desk) -> None:
    async with desk.run((160, 30)) as pilot:
        app = pilot.app
        await finish(desk, pilot, TEXTS[:2])
        app.chat.set_best_of(1)
        desk.backend.script(["It is 43"])
        await pilot.press("ctrl+r")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        await open_view(desk, pilot)
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(app)
        for expected in ("1 · candidate 1 of 2", "2 · candidate 2 of 2 ✓", "3 · drawn alone ●", "It is 43", TEXTS[0]):
            assert expected in text


async def test_a_reply_that_waits_for_its_model_can_be_looked_at(desk: Desk) -> None:
    desk.load_at_once = False
    async with desk.run((120, 30)) as pilot:
        pilot.app.chat.set_best_of(3)
        desk.backend.script_candidates(list(TEXTS))
        await desk.send(pilot, "What is it?")
        await open_view(desk, pilot)
        desk.backend.ready()
        desk.backend.finish()
        await desk.settle(pilot)
        assert TEXTS[0] in screen_text(pilot.app)


async def test_an_engine_that_dies_leaves_its_reason_under_each(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        await begin(desk, pilot)
        desk.backend.step(2)
        await desk.settle(pilot)
        await open_view(desk, pilot)
        desk.backend.crash()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert text.count("the engine stopped: killed by") == 3
        assert text.count("failed") == 3
        await pilot.press("escape")
        await desk.settle(pilot)
        assert len(pilot.app.transcript.query("Columns")) == 0
        assert "It" in screen_text(pilot.app)


async def test_votes_and_what_a_model_wrote_are_text(desk: Desk) -> None:
    nasty = "[red]x[/] \x1b[31m"
    async with desk.run((120, 30)) as pilot:
        pilot.app.chat.set_selector(parse_selector("vote"))
        await finish(desk, pilot, (nasty, nasty, "no"))
        await open_view(desk, pilot)
        text = screen_text(pilot.app)
        assert "\x1b" not in text
        assert text.count("[red]x[/] ␛[31m") >= 2
        assert "chosen by vote: 2 of 2 say [red]x[/]" in text


async def test_at_80_columns_two_are_in_sight_and_tabs_lead_to_the_others(desk: Desk) -> None:
    async with desk.run((80, 24)) as pilot:
        await finish(desk, pilot)
        await open_view(desk, pilot)
        assert TEXTS[2] not in screen_text(pilot.app)
        await pilot.press("right")
        await pilot.pause()
        await pilot.pause()
        text = screen_text(pilot.app)
        assert TEXTS[2] in text
        assert "1   2 ✓ ●  ›3" in " ".join(text.split(" "))
