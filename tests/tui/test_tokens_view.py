"""The tokens view on the screen: keys, mouse, what is asked of the model meanwhile, and what is said when it cannot."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.pilot import Pilot
from textual.widget import Widget
from tokens_oracle import CHANCES, FIRST_ID, PIECES, Oracle, converse, open_tokens

from lmlab.backends import Constraint, Spell
from lmlab.errors import EngineStopped, UsageError
from lmlab.store import Reply
from lmlab.tui.app import ChatApp
from lmlab.tui.screens.tokens import TokensView

MakeDesk = Callable[..., Desk]

MADAGASCAR = PIECES.index(" Madagascar")


async def opened(desk: Desk, pilot: Pilot[Any]) -> tuple[TokensView, Oracle]:
    """A chat with one reply, and the view over it."""
    oracle = Oracle(desk.backend)
    await converse(desk, pilot)
    return await open_tokens(desk, pilot), oracle


async def press(pilot: Pilot[Any], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


def part(pilot: Pilot[Any], name: str) -> str:
    """What a widget shows."""
    region = pilot.app.screen.query_one(name, Widget).region
    rows = screen_text(pilot.app).split("\n")[region.y : region.bottom]
    return "\n".join(row[region.x : region.right].rstrip() for row in rows)


def place(pilot: Pilot[Any], name: str, text: str) -> tuple[int, int]:
    """Where ``text`` stands in a widget, from its corner."""
    for y, row in enumerate(part(pilot, name).split("\n")):
        if text in row:
            return row.index(text), y
    raise AssertionError(f"no {text!r} in:\n{part(pilot, name)}")


async def test_the_reply_is_there_as_tokens_and_what_was_weighed_at_the_first(desk: Desk) -> None:
    async with desk.run() as pilot:
        await opened(desk, pilot)
        text = part(pilot, "#token-text")
        assert "▁capital▁of▁France▁is" in text
        assert text.index("⏎") < text.index("It▁is")
        weighed = part(pilot, "#weighed")
        assert "token 1 of 14" in weighed
        assert re.search(r"● +1 The +\S+ +39\.6 +44\.2", weighed)
        assert re.search(r"5 ▁London +2\.41 +top-p", weighed)
        assert "4 of 49,152 left · 1.96 → 1.62 bits" in weighed
        assert "perplexity" in part(pilot, "#tokens-title")


async def test_arrows_walk_over_tokens_and_lines(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "right", "right")
        assert view.state.reading.at == 2
        assert "token 3 of 14" in part(pilot, "#weighed")
        await press(pilot, "end")
        assert view.state.reading.at == len(PIECES)
        assert re.search("■ the end +after token 14", part(pilot, "#weighed"))
        assert "candidates to go on with instead" in part(pilot, "#weighed")
        await press(pilot, "home", "down")
        assert view.state.reading.at == MADAGASCAR
        await press(pilot, "up")
        assert view.state.reading.at == 0
        await press(pilot, "pagedown")
        assert view.state.reading.at > MADAGASCAR


async def test_n_goes_to_the_next_surprising_token(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "n")
        assert view.state.reading.at == MADAGASCAR
        await press(pilot, "n", "n")
        assert view.state.reading.at == MADAGASCAR
        await press(pilot, "N")
        assert view.state.reading.at == CHANCES.index(0.03)


async def test_moving_fast_asks_for_the_first_and_the_last_token_only(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        oracle.hold = True
        before = len(oracle.looks)
        await press(pilot, *["right"] * 10)
        assert view.state.reading.at == 10
        assert len(oracle.looks) == before + 1
        assert "rank 1 · 39.6 % raw" in part(pilot, "#weighed")
        await desk.wait_until(pilot, lambda: "looking at another token" in part(pilot, "#weighed"))
        oracle.answer()
        await desk.wait_until(pilot, lambda: "token 2 of 14" in part(pilot, "#weighed"))
        assert [len(look.tokens) for look in oracle.looks[before:]] == [1, 10]
        oracle.answer()
        await desk.wait_until(pilot, lambda: "token 11 of 14" in part(pilot, "#weighed"))
        assert not oracle.waiting


async def test_a_click_selects_a_token(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await pilot.click("#token-text", offset=place(pilot, "#token-text", "adagascar"))
        await pilot.pause()
        assert view.state.reading.at == MADAGASCAR
        assert "token 6 of 14" in part(pilot, "#weighed")


async def test_brackets_and_clicks_choose_the_stage(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        asked = len(oracle.looks) + len(oracle.reweighs)
        await press(pilot, "[", "[", "[")
        assert view.state.stage == "top-k"
        assert re.search(r"raw +top-k\n", part(pilot, "#weighed"))
        assert "top-p" not in part(pilot, "#weighed").split("\n", 3)[3]
        await press(pilot, "[")
        assert "49,152 tokens · 1.96 bits" in part(pilot, "#weighed")
        await press(pilot, "]")
        assert view.state.stage == "top-k"
        await pilot.click("#weighed", offset=place(pilot, "#weighed", "min-p"))
        await pilot.pause()
        assert view.state.stage == "min-p"
        assert len(oracle.looks) + len(oracle.reweighs) == asked


async def test_wide_enough_every_stage_is_a_column(desk: Desk) -> None:
    async with desk.run((120, 36)) as pilot:
        view, _ = await opened(desk, pilot)
        weighed = part(pilot, "#weighed")
        assert re.search(r"raw +top-k +top-p +min-p +temperature", weighed)
        assert re.search(r"tokens left +49,152 +13 +4 +4 +4", weighed)
        assert re.search(r"5 ▁London +2\.41 +2\.41 +cut\n", weighed)
        await pilot.click("#weighed", offset=place(pilot, "#weighed", "top-p"))
        await pilot.pause()
        assert view.state.stage == "top-p"


async def test_a_slider_reshapes_without_a_look_and_without_changing_the_chat(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        looks, asked = len(oracle.looks), view.host.chat.asked
        await press(pilot, "t", "left", "left")
        assert len(oracle.looks) == looks
        assert [question.sampling.temperature for question in oracle.reweighs] == [0.75, 0.7]
        assert re.search(r"temperature +0\.70•", part(pilot, "#token-sliders"))
        assert re.search(r"● +1 The +\S+ +39\.6 +46\.0", part(pilot, "#weighed"))
        assert view.host.chat.asked == asked


async def test_a_slider_turned_fast_is_weighed_at_its_first_and_last_place(desk: Desk) -> None:
    async with desk.run() as pilot:
        _, oracle = await opened(desk, pilot)
        oracle.hold = True
        await press(pilot, "t", *["left"] * 8)
        assert len(oracle.reweighs) == 1
        oracle.answer()
        await desk.wait_until(pilot, lambda: len(oracle.reweighs) == 2)
        assert oracle.reweighs[-1].sampling.temperature == pytest.approx(0.4)


async def test_a_value_can_be_typed_and_abandoned(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "k", "3", "enter")
        assert view.state.knobs.value("top_k") == 3
        assert "3 of 49,152 left" in part(pilot, "#weighed")
        await press(pilot, "p", "9", "enter")
        assert "from 0 to 1" in screen_text(pilot.app)
        await press(pilot, "escape")
        assert isinstance(pilot.app.screen, TokensView)
        assert view.state.typed is None
        await press(pilot, "k", "backspace")
        assert view.state.knobs.changed == ()


async def test_s_takes_the_sliders_to_the_chat_and_u_puts_them_back(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "s")
        assert "the sliders stand as this reply was drawn" in screen_text(pilot.app)
        await press(pilot, "m", "right", "s")
        assert view.host.chat.asked.min_p == pytest.approx(0.06)
        assert view.host.chat.asked.temperature is None
        assert "the chat now draws with min-p 0.06" in screen_text(pilot.app)
        await press(pilot, "u")
        assert view.state.knobs.changed == ()
        assert view.host.chat.asked.min_p == pytest.approx(0.06)


async def test_sliders_answer_to_the_mouse(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        x, y = place(pilot, "#token-sliders", "▕")
        await pilot.click("#token-sliders", offset=(x + 10, y))
        await pilot.pause()
        assert view.state.knobs.value("temperature") == pytest.approx(1.9)
        await pilot.mouse_down("#token-sliders", offset=(x + 1, y + 2))
        await pilot.hover("#token-sliders", offset=(x + 6, y + 2))
        await pilot.mouse_up("#token-sliders", offset=(x + 6, y + 2))
        await pilot.pause()
        assert view.state.knobs.value("top_p") == pytest.approx(0.55)
        assert len(oracle.looks) == 1
        await pilot.click("#token-sliders", offset=place(pilot, "#token-sliders", "min-p"))
        await pilot.pause()
        assert view.state.knob == "min_p"


async def test_enter_on_a_candidate_branches_and_the_reply_streams_in_the_chat(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        chat, first = view.host.chat, view.state.reading.turn
        desk.backend.script([".", " Yes."])
        await press(pilot, "n", "tab", "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert not isinstance(pilot.app.screen, TokensView)
        assert first.reply is not None
        assert desk.backend.requests[-1].reply == (*first.reply.tokens[:MADAGASCAR], FIRST_ID)
        desk.backend.finish()
        await desk.settle(pilot)
        branched = chat.turns[-1]
        assert branched.id != first.id
        assert branched.parent == first.parent
        assert first.id in [turn.id for turn in chat.siblings(branched)]


async def test_a_branch_that_is_refused_is_one_line_under_the_reply_that_was_there(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        chat, path = view.host.chat, view.host.chat.turns
        desk.backend.script((), error=UsageError("the constraint forbids 'x'"))
        await press(pilot, "n", "tab", "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        desk.backend.finish()
        await desk.settle(pilot)
        shown = screen_text(pilot.app)
        assert chat.turns == path
        assert shown.count("the constraint forbids 'x'") == 1
        assert path[-1].content[:20] in shown
        assert pilot.app.state.reply is None


async def test_what_a_grammar_forced_is_not_laid_to_the_sampler(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.chat.set_sampling("temperature", 0)
        pilot.app.chat.constraint = Constraint("gbnf", 'root ::= "The" .*')
        await opened(desk, pilot)
        await press(pilot, "right")
        assert re.search(r"rank \d · .* % raw → by the grammar", part(pilot, "#weighed"))
        assert "held to a grammar" in part(pilot, "#tokens-title")


async def test_the_facts_of_a_token_stay_on_their_line(desk: Desk) -> None:
    async with desk.run(size=(80, 24)) as pilot:
        pilot.app.chat.set_sampling("temperature", 0)
        await opened(desk, pilot)
        await press(pilot, "right")
        lines = part(pilot, "#weighed").split("\n")
        assert re.search(r"rank \d · .* raw → removed by", lines[1])
        assert "raw" in lines[2]
        assert "temperature" in lines[2]


async def test_the_likeliest_other_token_is_chosen_first(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "n", "tab")
        assert view.state.chosen is not None
        assert view.state.chosen.token == FIRST_ID
        assert re.search(r"› +1 ▁Paris", part(pilot, "#weighed"))


async def test_the_token_that_was_drawn_is_no_branch(desk: Desk) -> None:
    async with desk.run() as pilot:
        await opened(desk, pilot)
        requests = len(desk.backend.requests)
        await press(pilot, "tab", "up", "enter")
        assert isinstance(pilot.app.screen, TokensView)
        assert "this is the token that was drawn" in screen_text(pilot.app)
        assert len(desk.backend.requests) == requests


async def test_where_the_reply_ended_it_can_go_on(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        first = view.state.reading.reply
        await press(pilot, "end", "enter", "enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert desk.backend.requests[-1].reply == (*first.tokens, FIRST_ID)


async def test_a_double_click_on_a_candidate_branches(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        at = place(pilot, "#weighed", "▁London")
        await pilot.click("#weighed", offset=at)
        await pilot.pause()
        assert view.state.part == "weighed"
        assert view.state.chosen is not None
        assert view.state.chosen.text == " London"
        await pilot.click("#weighed", offset=at, times=2)
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert desk.backend.requests[-1].reply == (view.state.chosen.token,)


async def test_the_wheel_moves_over_candidates(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        view.query_one("#weighed").post_message(_wheel())
        await pilot.pause()
        await pilot.pause()
        assert view.state.part == "weighed"
        assert view.state.row == 2


async def test_replies_of_earlier_turns_are_a_key_away(desk: Desk) -> None:
    async with desk.run() as pilot:
        oracle = Oracle(desk.backend)
        await converse(desk, pilot)
        desk.backend.script(["Lyon", "."])
        await desk.send(pilot, "And the second?")
        desk.backend.finish()
        await desk.settle(pilot)
        view = await open_tokens(desk, pilot)
        assert "reply 2 of 2" in part(pilot, "#tokens-title")
        assert "Madagascar" not in part(pilot, "#token-text")
        await press(pilot, "<")
        assert "reply 1 of 2" in part(pilot, "#tokens-title")
        assert "▁Madagascar" in part(pilot, "#token-text")
        assert len(oracle.looks[-1].prompt.messages) == 1  # type: ignore[union-attr]
        await press(pilot, "<")
        assert "this is the first reply" in screen_text(pilot.app)
        assert view.state.reading.index == 0


async def test_a_reply_without_probabilities_is_uncoloured_and_that_is_said(make_desk: MakeDesk) -> None:
    desk = make_desk()
    session = desk.store.create_session()
    asked = desk.store.add_turn(session.id, None, "hello")
    kept = Reply(status="done", finish_reason="stop", model="smollm2", fingerprint="fingerprint", tokens=(7, 8))
    desk.store.add_turn(session.id, asked.id, "one two", reply=kept)
    desk.session = desk.store.session(session.id)
    async with desk.run() as pilot:
        Oracle(desk.backend)
        desk.backend.texts |= {7: "one", 8: " two"}
        await open_tokens(desk, pilot)
        assert "one▁two" in part(pilot, "#token-text")
        assert "kept without probabilities" in part(pilot, "#tokens-legend")
        assert "token 1 of 2" in part(pilot, "#weighed")


async def test_a_reply_of_another_model_is_shown_as_text_and_its_tokens_are_not_spelled(make_desk: MakeDesk) -> None:
    desk = make_desk()
    session = desk.store.create_session()
    asked = desk.store.add_turn(session.id, None, "hello")
    kept = Reply(status="done", finish_reason="stop", model="gemma3", fingerprint="other", tokens=(7, 8))
    desk.store.add_turn(session.id, asked.id, "one two\nthree", reply=kept)
    desk.session = desk.store.session(session.id)
    async with desk.run() as pilot:
        oracle = Oracle(desk.backend)
        view = await open_tokens(desk, pilot)
        assert "one▁two⏎" in part(pilot, "#token-text")
        assert "gemma3 made that reply" in part(pilot, "#weighed").replace("\n", " ")
        await press(pilot, "right", "down", "end", "n")
        await pilot.click("#token-text", offset=(2, 0))
        await pilot.pause()
        assert view.state.reading.at == 0
        assert not oracle.looks
        assert not any(isinstance(question, Spell) for question in desk.backend.questions)


async def test_while_the_reply_streams_its_tokens_appear_and_are_each_spelled_once(desk: Desk) -> None:
    async with desk.run() as pilot:
        Oracle(desk.backend)
        desk.backend.script(PIECES, logprobs=[math.log(chance) for chance in CHANCES])
        await desk.send(pilot, "What is the capital of France?")
        desk.backend.step(3)
        await desk.settle(pilot)
        view = await open_tokens(desk, pilot)
        assert "The▁capital" in part(pilot, "#token-text")
        assert "it streams" in part(pilot, "#tokens-title")
        assert view.state.reading.at == 1
        desk.backend.step(3)
        await desk.settle(pilot)
        await desk.wait_until(pilot, lambda: "▁France▁is" in part(pilot, "#token-text"))
        assert view.state.reading.at == 4
        await press(pilot, "home")
        desk.backend.finish()
        await desk.settle(pilot)
        await desk.wait_until(pilot, lambda: "there.■" in part(pilot, "#token-text"))
        assert view.state.reading.at == 0
        spelled = [
            token for question in desk.backend.questions if isinstance(question, Spell) for token in question.tokens
        ]
        assert len(spelled) == len(set(spelled)) == len(PIECES)


async def test_no_branch_while_a_reply_is_under_way(desk: Desk) -> None:
    async with desk.run() as pilot:
        Oracle(desk.backend)
        desk.backend.script(PIECES)
        await desk.send(pilot, "What is the capital of France?")
        desk.backend.step(3)
        await desk.settle(pilot)
        await open_tokens(desk, pilot)
        await press(pilot, "tab", "enter")
        assert "a reply is under way: wait for its end, or ctrl+c stops it" in part(pilot, "#tokens-legend")
        assert isinstance(pilot.app.screen, TokensView)
        desk.backend.finish()
        await desk.settle(pilot)


async def test_before_there_is_a_reply_the_view_does_not_open(desk: Desk) -> None:
    async with desk.run() as pilot:
        await press(pilot, "ctrl+t")
        assert not isinstance(pilot.app.screen, TokensView)
        assert "there is no reply to look into yet" in screen_text(pilot.app)


async def test_an_engine_that_fails_is_said_in_place_of_the_bars_and_the_next_token_tries_again(desk: Desk) -> None:
    async with desk.run() as pilot:
        _, oracle = await opened(desk, pilot)
        desk.backend.ask_error = EngineStopped("the engine stopped: killed by signal 9")
        await press(pilot, "right")
        assert "killed by signal 9" in part(pilot, "#weighed")
        await press(pilot, "tab", "enter")
        assert "killed by signal 9" in part(pilot, "#tokens-legend")
        desk.backend.ask_error = None
        await press(pilot, "right")
        assert "token 3 of 14" in part(pilot, "#weighed")
        assert len(oracle.looks) == 2


async def test_an_engine_that_starts_again_is_not_taken_for_a_look_that_takes_long(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        oracle.hold = True
        desk.backend.crash(EngineStopped("the engine stopped: killed by signal 9"))
        await press(pilot, "right")
        desk.backend.loading(0.4)
        await desk.wait_until(pilot, lambda: "the engine starts again: 40%" in part(pilot, "#weighed"))
        view.state.looks.forget()
        view.catch_up()
        await pilot.pause()
        assert part(pilot, "#weighed").strip() == "the engine starts again: 40%"
        assert len(oracle.looks) == 2


async def test_a_reply_that_failed_says_so_and_without_tokens_there_is_no_branch(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "What is the capital of France?")
        desk.backend.crash(EngineStopped("the engine stopped: killed by signal 9"))
        await desk.settle(pilot)
        await open_tokens(desk, pilot)
        assert "0 tokens · failed" in part(pilot, "#tokens-title")
        await press(pilot, "tab", "enter")
        assert "there is no token to branch from" in part(pilot, "#tokens-legend")


async def test_a_model_that_is_loaded_anew_is_asked_anew(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, oracle = await opened(desk, pilot)
        looks = len(oracle.looks)
        desk.backend.ready(replace(desk.backend.info, load_s=9.0))
        await desk.settle(pilot)
        await desk.wait_until(pilot, lambda: len(oracle.looks) == looks + 1)
        await desk.wait_until(pilot, lambda: "▁Madagascar" in part(pilot, "#token-text"))
        assert view.state.looks.up_to_date


async def test_escape_goes_back_to_the_tokens_and_then_to_the_chat(desk: Desk) -> None:
    async with desk.run() as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "tab", "tab")
        assert view.state.part == "knobs"
        await press(pilot, "escape")
        assert view.state.part == "text"
        await press(pilot, "escape")
        app = pilot.app
        assert isinstance(app, ChatApp)
        assert not isinstance(app.screen, TokensView)
        assert app.focused is app.prompt


async def test_an_answer_after_the_view_was_left_is_nobodys(desk: Desk) -> None:
    async with desk.run() as pilot:
        _, oracle = await opened(desk, pilot)
        oracle.hold = True
        await press(pilot, "right", "escape")
        oracle.answer()
        await pilot.pause()
        assert not isinstance(pilot.app.screen, TokensView)


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (60, 14)])
async def test_resizing_keeps_the_token_in_sight_and_nothing_overflows(desk: Desk, size: tuple[int, int]) -> None:
    async with desk.run((120, 36)) as pilot:
        view, _ = await opened(desk, pilot)
        await press(pilot, "end", "left")
        await pilot.resize_terminal(*size)
        await pilot.pause()
        await pilot.pause()
        assert "▁there." in part(pilot, "#token-text")
        assert "token 14 of 14" in part(pilot, "#weighed")
        text = view.query_one("#token-text", Widget)
        assert text.virtual_size.width <= text.region.width


async def test_without_colour_weight_and_marks_tell_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with desk.run() as pilot:
        await opened(desk, pilot)
        strips = pilot.app.screen._compositor.render_strips()
        styles = {
            segment.text: segment.style
            for strip in strips
            for segment in strip
            if segment.style and segment.text.strip()
        }
        here, sure, unlikely, surprising = (styles[name] for name in ("The", "capital", "very", "Madagascar"))
        assert here.reverse
        assert not sure.bold
        assert not sure.underline
        assert unlikely.bold
        assert not unlikely.underline
        assert surprising.bold
        assert surprising.underline


def _wheel() -> Any:
    from textual.events import MouseScrollDown

    return MouseScrollDown(None, 5, 8, 0, 1, 0, False, False, False)
