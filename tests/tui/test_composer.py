"""Writing: lines, history, completion, paste, and what the input draws."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from screen_harness import Desk, screen_text
from textual import events

from lmlab.tui.widgets.composer.drawn_line import drawn_line

MakeDesk = Callable[..., Desk]


async def test_ctrl_j_and_shift_enter_break_the_line(desk: Desk) -> None:
    async with desk.run() as pilot:
        await pilot.press("a", "ctrl+j", "b", "shift+enter", "c", "alt+enter", "d")
        assert pilot.app.prompt.text == "a\nb\nc\nd"
        assert pilot.app.prompt.region.height == 4
        assert not desk.backend.requests


async def test_a_long_input_leaves_most_of_the_screen_to_the_transcript(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.prompt.insert("\n" * 50 + "the end")
        await pilot.pause()
        assert pilot.app.transcript.region.height >= 10
        assert "the end" in screen_text(pilot.app)


async def test_a_paste_keeps_its_lines_and_is_not_sent(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.prompt.post_message(events.Paste("one\r\ntwo\rthree\n"))
        await pilot.pause()
        assert pilot.app.prompt.text == "one\ntwo\nthree\n"
        assert not desk.backend.requests


async def test_control_characters_in_the_input_are_drawn_not_obeyed(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.prompt.post_message(events.Paste("a\x1b[2Jb\x9bc\u202ed"))
        await pilot.pause()
        text = screen_text(pilot.app)
        assert "a␛[2Jb�c�d" in text
        assert "\x1b" not in text
        assert pilot.app.prompt.text == "a\x1b[2Jb\x9bc\u202ed"


async def test_a_message_of_one_long_line_is_drawn_as_a_short_one_is(desk: Desk) -> None:
    words = " ".join(str(number) for number in range(2_000))
    async with desk.run() as pilot:
        prompt = pilot.app.prompt
        prompt.recall(f"{words}\x1b[2J")
        await pilot.pause()
        assert "1998 1999␛[2J" in screen_text(pilot.app)
        await pilot.press("x", "left", "backspace", "ctrl+end")
        assert prompt.text.endswith("1999\x1b[2x")
        assert "1998 1999␛[2x" in screen_text(pilot.app)
        before = [prompt.render_line(y) for y in range(prompt.size.height)]
        prompt.select_all()
        after = [prompt.render_line(y) for y in range(prompt.size.height)]
        assert [line.text for line in after] == [line.text for line in before]
        assert not any(line == other for line, other in zip(after, before, strict=True))


def test_a_long_line_is_made_and_cut_once_and_takes_its_styles_off() -> None:
    line = "word " * 2_000
    cuts = range(60, len(line), 60)
    plain = drawn_line(line).divide(cuts)
    styled = drawn_line(line)
    styled.stylize("bold", 130, 190)
    marked = styled.divide(cuts)
    assert [part is other for part, other in zip(plain, marked, strict=True)].count(False) == 2
    assert [(span.start, span.end) for part in marked for span in part.spans] == [(10, 60), (0, 10)]
    assert [part.spans for part in drawn_line(line).divide(cuts)] == [[]] * len(plain)
    assert "".join(part.plain for part in drawn_line(line).divide(range(80, len(line), 80))) == f"{line} "


async def test_the_arrows_walk_what_was_typed_before(desk: Desk) -> None:
    async with desk.run() as pilot:
        for text in ("first", "second"):
            await desk.send(pilot, text)
            desk.backend.finish()
            await desk.settle(pilot)
        pilot.app.prompt.insert("draft")
        await pilot.press("up")
        assert pilot.app.prompt.text == "second"
        await pilot.press("up")
        assert pilot.app.prompt.text == "first"
        await pilot.press("up")
        assert pilot.app.prompt.text == "first"
        await pilot.press("down", "down")
        assert pilot.app.prompt.text == "draft"


async def test_inside_a_text_the_arrows_move_the_cursor(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "before")
        desk.backend.finish()
        await desk.settle(pilot)
        await pilot.press("a", "ctrl+j", "b", "up")
        assert pilot.app.prompt.text == "a\nb"
        await pilot.press("up")
        assert pilot.app.prompt.text == "before"


async def test_what_was_typed_is_in_a_private_file(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "a\nb")
    assert [json.loads(line) for line in desk.paths.history.read_text().splitlines()] == ["a\nb"]
    if os.name == "posix":
        assert desk.paths.history.stat().st_mode & 0o777 == 0o600


async def test_tab_completes_a_command(desk: Desk) -> None:
    async with desk.run() as pilot:
        await pilot.press("slash", "m")
        await pilot.pause()
        assert pilot.app.completions.chosen == "/model "
        await pilot.press("tab")
        assert pilot.app.prompt.text == "/model "
        await pilot.pause()
        await pilot.press("down", "tab")
        assert pilot.app.prompt.text == "/model gemma3-270m"


async def test_escape_closes_the_completions_before_anything_else(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "go")
        desk.backend.step(2)
        await pilot.press("slash")
        await pilot.pause()
        await pilot.press("escape")
        await pilot.pause()
        assert pilot.app.completions.chosen is None
        assert not desk.backend.cancels


async def test_ctrl_d_quits_only_an_empty_input(desk: Desk) -> None:
    async with desk.run() as pilot:
        await pilot.press("x", "home", "ctrl+d")
        assert pilot.app.prompt.text == ""
        assert pilot.app.is_running
        await pilot.press("ctrl+d")
        await desk.wait_until(pilot, lambda: pilot.app.return_code == 0)


async def test_no_editor_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "no-such-editor-anywhere")
    async with desk.run() as pilot:
        pilot.app.prompt.insert("kept")
        await pilot.press("ctrl+g")
        await pilot.pause()
        assert "no such program is there" in screen_text(pilot.app)
        assert pilot.app.prompt.text == "kept"


async def test_a_bare_return_sends_nothing(desk: Desk) -> None:
    async with desk.run() as pilot:
        await pilot.press("space", "enter")
        await pilot.pause()
        assert not desk.backend.requests
        assert pilot.app.prompt.text == " "


async def test_what_is_typed_right_after_enter_is_a_message_of_its_own(desk: Desk) -> None:
    async with desk.run() as pilot:
        prompt = pilot.app.prompt
        keys = [*"/set temperature 0", "enter", *"/best-of 2", "enter", *"and then"]
        for key in keys:
            prompt.post_message(events.Key(key, None if len(key) > 1 else key))
        await desk.settle(pilot)
        assert pilot.app.prompt.text == "and then"
        assert (pilot.app.chat.asked.temperature, pilot.app.chat.best_of) == (0.0, 2)
