"""The whole screen, driven by keys, on a backend stepped by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screen_harness import Desk, screen_text

from lmlab.backends import Constraint
from lmlab.backends.fake import FakeCandidate
from lmlab.errors import EngineStopped, ModelNotFound, StoreError
from lmlab.lab.events import Fetching, Notice, SaveFailed
from lmlab.models import Progress
from lmlab.store import Reply

MakeDesk = Callable[..., Desk]


async def test_keys_work_before_any_model_is_found(make_desk: MakeDesk) -> None:
    desk = make_desk(error=ModelNotFound("no model is called 'x': did you mean smollm2?"), model_ref="x")
    async with desk.run() as pilot:
        await desk.wait_until(pilot, lambda: "did you mean smollm2?" in screen_text(pilot.app))
        await pilot.press("h", "i")
        assert pilot.app.prompt.text == "hi"
        assert "no model: /model NAME opens one" in screen_text(pilot.app)


async def test_a_message_without_a_model_stays_in_the_input(make_desk: MakeDesk) -> None:
    desk = make_desk(error=ModelNotFound("no such model"))
    async with desk.run() as pilot:
        await desk.wait_until(pilot, lambda: "no such model" in screen_text(pilot.app))
        pilot.app.prompt.insert("keep me")
        await pilot.press("enter")
        await desk.settle(pilot)
        assert pilot.app.prompt.text == "keep me"
        assert "open one with /model" in screen_text(pilot.app)


async def test_a_reply_streams_and_ends_with_its_numbers(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["Hello", " **there**", "."], prompt_tokens=12, cached=4)
        await desk.send(pilot, "hi")
        assert pilot.app.prompt.text == ""
        desk.backend.step(2)
        await desk.settle(pilot)
        assert "Hello" in screen_text(pilot.app)
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "Hello there." in text
        assert "3 tokens · 100 tok/s · first token 0.10 s · 4 of 12 cached" in text
        assert "15 / 8,192" in text


async def test_enter_during_a_reply_keeps_the_text_and_says_why(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "first")
        desk.backend.step(2)
        pilot.app.prompt.insert("second")
        await pilot.press("enter")
        await desk.settle(pilot)
        assert pilot.app.prompt.text == "second"
        assert "a reply is under way" in screen_text(pilot.app)
        assert len(desk.backend.requests) == 1


async def test_escape_stops_the_reply(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "go")
        desk.backend.step(3)
        await pilot.press("escape")
        await desk.settle(pilot)
        assert desk.backend.cancels
        assert "· stopped" in screen_text(pilot.app)


async def test_ctrl_c_stops_first_and_quits_at_the_second(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "go")
        desk.backend.step(3)
        await pilot.press("ctrl+c")
        await desk.settle(pilot)
        assert desk.backend.cancels
        await pilot.press("ctrl+c")
        assert "ctrl+c again quits" in screen_text(pilot.app)
        assert pilot.app.is_running
        await pilot.press("ctrl+c")
        await desk.wait_until(pilot, lambda: pilot.app.return_code == 0)


async def test_regenerate_takes_the_place_of_the_reply(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["old"])
        await desk.send(pilot, "hi")
        desk.backend.finish()
        await desk.settle(pilot)
        desk.backend.script(["new"])
        await pilot.press("ctrl+r")
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "new" in text
        assert "old" not in text
        assert text.count("you") == 1


@pytest.mark.parametrize(
    ("reason", "words"), [("length", "max tokens"), ("context", "context full"), ("cancelled", "stopped")]
)
async def test_what_ended_a_reply_is_said(desk: Desk, reason: str, words: str) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["text"], reason=reason)
        await desk.send(pilot, "hi")
        desk.backend.finish()
        await desk.settle(pilot)
        assert f"· {words}" in screen_text(pilot.app)


async def test_a_crash_keeps_what_had_come_and_the_next_message_works(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["half a", " sentence"])
        await desk.send(pilot, "hi")
        desk.backend.step(3)
        desk.backend.crash(EngineStopped("the engine stopped: killed by signal 9"))
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "half a sentence" in text
        assert "the engine stopped: killed by signal 9" in text
        assert "the next message starts it again" in text
        desk.backend.script(["back again"])
        await desk.send(pilot, "still there?")
        desk.backend.ready()
        desk.backend.finish()
        await desk.settle(pilot)
        assert "back again" in screen_text(pilot.app)
        assert "starts it again" not in screen_text(pilot.app)


async def test_a_full_disk_keeps_the_message_in_the_input(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk.run() as pilot:
        app = pilot.app

        def fail(text: str) -> None:
            raise StoreError("the disk is full: make room, then send again")

        monkeypatch.setattr(app.chat, "send", fail)
        app.prompt.insert("precious")
        await pilot.press("enter")
        await desk.settle(pilot)
        assert app.prompt.text == "precious"
        assert "the disk is full" in screen_text(app)


async def test_notices_and_save_errors_are_lines_of_the_transcript(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.tell(Notice("from huggingface.co"), SaveFailed(StoreError("cannot write")))
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "from huggingface.co" in text
        assert "cannot write" in text


async def test_a_download_shows_its_bar_in_place(make_desk: MakeDesk) -> None:
    desk = make_desk(load_at_once=False)
    async with desk.run() as pilot:
        desk.tell(Fetching(Progress("smollm2 from huggingface.co", 49_000_000, 98_000_000)))
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "fetching smollm2 from huggingface.co" in text
        assert "49 / 98 MB" in text


async def test_slash_help_opens_the_help_page(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.prompt.insert("/help")
        await pilot.press("enter")
        await pilot.pause()
        assert "Writing" in screen_text(pilot.app)
        await pilot.press("escape")
        await pilot.pause()
        assert "Writing" not in screen_text(pilot.app)


async def test_a_wrong_command_leaves_the_input_and_up_brings_it_back(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.prompt.insert("/sett temperature 1")
        await pilot.press("enter")
        await desk.settle(pilot)
        assert "did you mean /set" in screen_text(pilot.app)
        assert pilot.app.prompt.text == ""
        await pilot.press("up")
        assert pilot.app.prompt.text == "/sett temperature 1"


@pytest.mark.parametrize("line", ["//etc is a folder", "/regen"])
async def test_during_a_reply_a_message_stays_and_a_command_does_not(desk: Desk, line: str) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "go")
        desk.backend.step(2)
        pilot.app.prompt.insert(line)
        await pilot.press("enter")
        await desk.settle(pilot)
        stays = line.startswith("//")
        assert pilot.app.prompt.text == (line if stays else "")
        assert ("what you typed stays here" in screen_text(pilot.app)) == stays
        assert "a reply is under way: esc stops it" in screen_text(pilot.app)


async def test_slash_clear_empties_the_screen_and_drops_late_events(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["late", " words"])
        await desk.send(pilot, "hello")
        desk.backend.step(2)
        pilot.app.prompt.insert("/clear")
        await pilot.press("enter")
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "late" not in text
        assert "a new session" in text
        assert "0 / 8,192" in text


async def test_a_new_session_says_that_the_system_prompt_stays(desk: Desk) -> None:
    async with desk.run() as pilot:
        pilot.app.chat.set_system("Be brief.")
        await pilot.press("ctrl+l")
        await desk.settle(pilot)
        assert 'the system prompt stays: "Be brief."; /system - drops it' in screen_text(pilot.app)


async def test_the_context_of_a_resumed_session_is_what_was_last_known(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.session = desk.store.create_session()
    question = desk.store.add_turn(desk.session.id, None, "one")
    whole = desk.store.add_turn(
        desk.session.id, question.id, "1", reply=Reply(status="done", finish_reason="stop", context_used=8000)
    )
    question = desk.store.add_turn(desk.session.id, whole.id, "two")
    desk.store.add_turn(desk.session.id, question.id, "cut", reply=Reply())
    async with desk.run() as pilot:
        text = screen_text(pilot.app)
        assert "8,000 / 8,192" in text
        assert "the context is nearly full" in text


async def test_a_reply_that_filled_the_context_says_that_it_is_full(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.session = desk.store.create_session()
    question = desk.store.add_turn(desk.session.id, None, "one")
    ended = Reply(status="done", finish_reason="context", context_used=8191)
    desk.store.add_turn(desk.session.id, question.id, "1", reply=ended)
    async with desk.run() as pilot:
        await desk.wait_until(pilot, lambda: "8,191 / 8,192" in screen_text(pilot.app))
        text = screen_text(pilot.app)
        assert "the context is full: /clear begins a new session" in text
        assert "nearly full" not in text


async def test_a_context_never_known_is_left_blank(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.remember_turns(1)
    async with desk.run() as pilot:
        assert "▏       / 8,192" in screen_text(pilot.app)


async def test_files_that_go_along_fit_on_their_line(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / f"{'long ' * 20}.txt"
    file.write_text("x" * 4221)
    async with desk.run() as pilot:
        pilot.app.chat.attach(str(file))
        await desk.settle(pilot)
        assert "… attached, 4,221 characters ─" in screen_text(pilot.app)
        file.write_text("y" * 4221)
        pilot.app.chat.attach(str(file))
        await desk.settle(pilot)
        assert "2 files attached, 8,442 characters ─" in screen_text(pilot.app)


async def test_what_replies_are_held_to_is_on_the_screen_while_it_is(desk: Desk) -> None:
    async with desk.run() as pilot:
        for line in ("/schema {}", "/clear"):
            pilot.app.prompt.insert(line)
            await pilot.press("enter")
        await desk.settle(pilot)
        assert "─ replies held to a schema ─" in screen_text(pilot.app)
        pilot.app.prompt.insert("/schema -")
        await pilot.press("enter")
        await desk.settle(pilot)
        assert "replies held to" not in screen_text(pilot.app)


async def test_a_double_slash_is_a_message(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "//etc is a folder")
        desk.backend.finish()
        await desk.settle(pilot)
        assert "/etc is a folder" in screen_text(pilot.app)
        assert "//etc" not in screen_text(pilot.app)


async def test_an_unexpected_exception_ends_the_app_and_reaches_the_caller(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = desk.app()
    boom = RuntimeError("boom")

    def fail(text: str) -> None:
        raise boom

    async def provoke() -> None:
        async with app.run_test() as pilot:
            monkeypatch.setattr(app.chat, "send", fail)
            app.prompt.insert("x")
            await pilot.press("enter")
            await desk.wait_until(pilot, lambda: app.failure is not None)

    with pytest.raises(RuntimeError, match="boom"):
        await provoke()
    assert app.failure is boom
    app.chat.close()


async def test_an_unknown_theme_is_said_and_the_dark_one_used(make_desk: MakeDesk) -> None:
    desk = make_desk(theme="mauve")
    async with desk.run() as pilot:
        assert pilot.app.theme == "lmlab-dark"
        assert "no theme is called 'mauve'" in screen_text(pilot.app)


async def test_the_theme_is_turned_over(make_desk: MakeDesk) -> None:
    desk = make_desk(theme="light")
    async with desk.run() as pilot:
        assert pilot.app.theme == "lmlab-light"
        pilot.app.action_toggle_theme()
        assert pilot.app.theme == "lmlab-dark"


async def draw(desk: Desk, pilot: Any, *texts: str) -> None:
    """Ask a question that candidates with these texts will answer, the second the most probable."""
    logprobs = (-1.0, -0.25, -2.0)
    pilot.app.chat.set_best_of(len(texts))
    desk.backend.script_candidates(
        FakeCandidate(text, logprob=logprob) for text, logprob in zip(texts, logprobs, strict=False)
    )
    await desk.send(pilot, "How many?")


async def test_the_chosen_candidate_takes_the_place_of_the_one_that_streamed(desk: Desk) -> None:
    async with desk.run() as pilot:
        await draw(desk, pilot, "It is 41", "It is 42")
        desk.backend.step(4)
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "It is 41" in text
        assert "It is 42" in text
        assert "0 of 2 candidates ended" in text
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "It is 42" in text
        assert "It is 41" not in text
        assert "candidate 2 of 2, by logprob: the highest mean log-probability of 2: -0.250" in text
        assert "3 tokens" in text


async def test_a_first_candidate_that_is_chosen_stays_where_it_is(desk: Desk) -> None:
    async with desk.run() as pilot:
        await draw(desk, pilot, "It is 42")
        pilot.app.chat.set_best_of(2)
        desk.backend.finish()
        await desk.settle(pilot)
        desk.backend.script_candidates(["Yes", "No"])
        await desk.send(pilot, "Sure?")
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "Yes" in text
        assert "candidate 1 of 2, by logprob" in text


async def test_another_candidate_can_be_gone_on_from(desk: Desk) -> None:
    async with desk.run() as pilot:
        await draw(desk, pilot, "It is 41", "It is 42")
        desk.backend.finish()
        await desk.settle(pilot)
        pilot.app.prompt.insert("/candidates 1")
        await pilot.press("enter")
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "It is 41" in text
        assert "It is 42" not in text
        assert "candidate 1 of 2 · score -1" in text
        assert "going on from reply 1 of 2" in text


async def test_escape_while_candidates_are_drawn_chooses_among_those_that_ended(desk: Desk) -> None:
    async with desk.run() as pilot:
        await draw(desk, pilot, "It is a long story", "No")
        desk.backend.step(3)
        await desk.settle(pilot)
        await pilot.press("escape")
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "candidate 2 of 2, by logprob: the only candidate; 1 was not drawn" in text
        assert "long story" not in text


@pytest.mark.parametrize("key", ["", "tab", "f1", "f2", "f3", "ctrl+o", "ctrl+p", "ctrl+t"])
async def test_no_window_is_too_small(make_desk: MakeDesk, key: str) -> None:
    desk = make_desk()
    desk.remember_turns(2)
    async with desk.run() as pilot:
        pilot.app.chat.constraint = Constraint("json-schema", "{}")
        await desk.send(pilot, "and then?")
        desk.backend.crash(EngineStopped("the engine is gone"))
        await desk.settle(pilot)
        await pilot.press(*filter(None, [key]))
        for size in ((1, 1), (2, 2), (3, 9), (9, 3), (20, 4), (80, 24)):
            await pilot.resize_terminal(*size)
            await desk.settle(pilot)
        assert pilot.app.is_running
        if not key:
            assert "the engine is gone" in screen_text(pilot.app)
