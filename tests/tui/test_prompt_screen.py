"""The prompt view: what is chosen in it, by keys and by mouse, and what it shows of the prompt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.pilot import Pilot

from lmlab.lab.chat_prompts import ChatPrompts
from lmlab.lab.next_prompt import NextPrompt, Passage
from lmlab.tui.app import ChatApp
from lmlab.tui.screens.prompt import PromptView
from lmlab.tui.widgets.prompt_view import Choice, TemplateList, marked

MakeDesk = Callable[..., Desk]


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    return Choice(ChatPrompts(tmp_path))


# What is chosen


def test_letters_narrow_the_list_and_choose_its_first(choice: Choice) -> None:
    assert choice.names[0] is None
    assert choice.rows() == ()
    choice.narrow("ju")
    assert choice.names == ("judge", "judge-pair")
    assert choice.name == "judge"
    choice.move(1)
    assert choice.name == "judge-pair"
    choice.narrow("")
    assert choice.name == "judge-pair"
    choice.narrow("zzz")
    assert (choice.names, choice.name) == ((), "judge-pair")
    choice.move(1)
    assert choice.name == "judge-pair"
    choice.refuse()
    assert choice.error is not None
    choice.narrow("zz")
    assert choice.error is None


def test_rows_say_how_it_is_put_and_are_stepped_through(choice: Choice) -> None:
    choice.choose("word-problem")
    assert [(row.name, row.value) for row in choice.rows()] == [("technique", "zero-shot")]
    choice.step(1)
    assert [(row.name, row.value) for row in choice.rows()] == [
        ("technique", "few-shot"),
        ("shots", "4 of 10"),
        ("pick", "order"),
        ("style", "turns"),
    ]
    choice.point(1)
    choice.step(-1)
    choice.point(1)
    choice.step(1)
    choice.point(1)
    choice.step(10)
    choice.point(9)
    choice.step(1)
    values = [(row.name, row.value) for row in choice.rows()][1:]
    assert values == [("shots", "3 of 10"), ("pick", "random"), ("seed", "10"), ("style", "inline")]
    current = choice.current
    assert current is not None
    assert (current.renderer.shots, current.approach.pick_seed) == (3, 10)
    choice.step(1)
    assert choice.rows()[-1].value == "inline"


def test_a_technique_that_cannot_be_is_stepped_over_or_said(choice: Choice) -> None:
    # Its examples have no reasoning to show.
    choice.choose("title")
    assert choice.rows()[0].value == "zero-shot"
    seen = []
    for _ in range(4):
        choice.step(1)
        seen.append(choice.rows()[0].value)
    assert seen == ["few-shot", "cot", "cot", "cot"]
    assert choice.error is not None
    assert "have no reasoning, and few-shot-cot shows some" in choice.error
    choice.step(-1)
    assert (choice.error, choice.rows()[0].value) == (None, "few-shot")


def test_other_inputs_are_typed(choice: Choice) -> None:
    choice.choose("summarize")
    rows = {row.name: row for row in choice.rows()}
    assert set(rows) == {"technique", "sentences", "audience"}
    assert rows["sentences"].faint
    choice.point(1)
    choice.type("3")
    choice.type("x")
    choice.erase()
    assert choice.rows()[1] == choice.rows()[choice.row]
    assert (choice.rows()[1].value, choice.rows()[1].faint) == ("3", False)
    choice.erase()
    assert choice.rows()[1].faint


def test_what_was_tried_is_as_it_was_when_one_comes_back(choice: Choice) -> None:
    choice.choose("word-problem")
    choice.step(1)
    choice.choose("summarize")
    choice.choose("word-problem")
    assert choice.rows()[0].value == "few-shot"
    choice.choose(None)
    assert (choice.name, choice.rows()) == (None, ())


def test_a_broken_template_is_said_and_cannot_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "broken.md").write_text("---\nname: broken\n---\n{{ x }}", encoding="utf-8")
    choice = Choice(ChatPrompts(tmp_path))
    choice.choose("summarize")
    choice.choose("broken")
    assert (choice.pointed, choice.name, choice.rows()) == ("broken", "summarize", ())
    assert choice.error is not None
    assert choice.error.startswith("broken.md, line 1: description is missing")


def test_a_template_of_a_file_is_in_the_list(tmp_path: Path) -> None:
    file = tmp_path / "there" / "mine.md"
    file.parent.mkdir()
    file.write_text("---\nname: mine\ndescription: x\ninputs: {text: {}}\n---\n{{ text }}\n", encoding="utf-8")
    prompts = ChatPrompts(tmp_path)
    prompts.choose(str(file))
    choice = Choice(prompts)
    assert choice.names[1] == choice.pointed == str(file)
    choice.narrow("min")
    assert choice.names == (str(file),)


# What is marked


def test_every_piece_is_there_once_with_what_ends_where() -> None:
    text = "<user>one \x1b[1m<end><user>two<end>"
    prompt = NextPrompt(text, 9, 4, 10, 6, 25, (Passage("user", 6, 14, 3), Passage("user", 25, 28, 1)))
    shown = marked(prompt).plain
    assert shown == "<user>one ◂memory␛[1m 3 <end><user>◂sharedtwo 1 <end>"


# On the screen


async def opened(desk: Desk, pilot: Pilot[Any]) -> ChatApp:
    app = pilot.app
    assert isinstance(app, ChatApp)
    await pilot.press("f2")
    await desk.wait_until(pilot, lambda: isinstance(app.screen, PromptView) and "in memory" in screen_text(app))
    return app


async def test_what_is_chosen_is_kept_for_the_next_message(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        app.prompt.insert("What is 3 + 4?")
        await opened(desk, pilot)
        assert "sent as it is typed" in screen_text(app)
        await pilot.press(*"word")
        await desk.wait_until(pilot, lambda: "Solve the problem" in screen_text(app))
        assert "your message is its question" in screen_text(app)
        await pilot.press("tab", "right")
        await desk.wait_until(pilot, lambda: "few-shot, 4 examples" in screen_text(app))
        assert app.chat.prompts.current is None
        await pilot.press("enter")
        await desk.wait_until(pilot, lambda: not isinstance(app.screen, PromptView))
        await desk.settle(pilot)
        assert "word-problem, few-shot, 4 examples · you type its question" in screen_text(app)
        await pilot.press("enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert len(desk.backend.requests[-1].prompt.messages) == 9  # type: ignore[union-attr]
        await desk.settle(pilot)
        assert "you · word-problem, few-shot, 4 examples" in screen_text(app)


async def test_escape_leaves_everything_as_it_was(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await opened(desk, pilot)
        await pilot.press(*"word", "escape")
        await desk.wait_until(pilot, lambda: not isinstance(app.screen, PromptView))
        assert app.chat.prompts.current is None


async def test_enter_keeps_nothing_that_what_is_typed_does_not_name(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await opened(desk, pilot)
        await pilot.press(*"wordx", "enter")
        await desk.settle(pilot)
        assert isinstance(app.screen, PromptView)
        assert 'nothing matches "wordx"' in screen_text(app)
        assert app.chat.prompts.current is None
        await pilot.press("backspace", "enter")
        await desk.wait_until(pilot, lambda: not isinstance(app.screen, PromptView))
        assert app.chat.prompts.current.name == "word-problem"


async def test_one_prompt_is_asked_for_at_a_time_and_the_last_is_shown(desk: Desk) -> None:
    async with desk.run((120, 36)) as pilot:
        app = await opened(desk, pilot)
        held: list[tuple[Any, Any]] = []
        answer = desk.backend.ask
        desk.backend.ask = lambda question, sink: held.append((question, sink))  # type: ignore[method-assign]
        await pilot.press(*"word", "tab", "right")
        await pilot.pause()
        # One prompt is three questions; however much is chosen meanwhile, there are no more.
        assert len(held) == 3
        assert "Solve the problem" not in screen_text(app)
        desk.backend.ask = answer  # type: ignore[method-assign]
        for question, sink in held:
            answer(question, sink)
        await desk.wait_until(pilot, lambda: "Tom is 4 years older" in screen_text(app))


async def test_a_click_chooses_and_steps(desk: Desk) -> None:
    async with desk.run((120, 36)) as pilot:
        app = await opened(desk, pilot)
        await pilot.press(*"word")
        await pilot.click(TemplateList, offset=(4, 1))
        await desk.settle(pilot)
        assert app.screen._choice.name == "word-problem"
        await pilot.click("#put", offset=(18, 0))
        await desk.wait_until(pilot, lambda: "few-shot, 4 examples" in screen_text(app))
        await pilot.click("#put", offset=(15, 1))
        await desk.wait_until(pilot, lambda: "few-shot, 3 examples" in screen_text(app))
        await pilot.click("#put", offset=(3, 2))
        await desk.settle(pilot)
        assert "› pick" in screen_text(app)


async def test_before_the_model_is_there_the_messages_are_shown(make_desk: MakeDesk) -> None:
    desk = make_desk(load_at_once=False)
    async with desk.run() as pilot:
        app = pilot.app
        await desk.settle(pilot)
        await pilot.press("f2")
        await desk.wait_until(pilot, lambda: isinstance(app.screen, PromptView))
        await desk.settle(pilot)
        assert "no model is loaded yet" in screen_text(app)
        assert "(your message)" in screen_text(app)
        desk.backend.ready()
        await desk.wait_until(pilot, lambda: "tokens ·" in screen_text(app))


async def test_what_does_not_fit_and_what_is_missing_is_said(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await opened(desk, pilot)
        await pilot.press(*"judge-p")
        await desk.wait_until(pilot, lambda: "judge-pair needs" in screen_text(app))
        await pilot.press(*["backspace"] * 7, "home")
        await pilot.press("escape")
        app.prompt.insert("word " * 9000)
        await pilot.press("f2")
        await desk.wait_until(pilot, lambda: "the context holds 8,192: this cannot be sent" in screen_text(app))


async def test_a_message_that_is_edited_keeps_its_template(make_desk: MakeDesk) -> None:
    desk = make_desk()
    session = desk.remember_turns(1)
    async with desk.run() as pilot:
        app = pilot.app
        app.editing.begin(desk.store.path(session.id)[0])
        await pilot.press("f2")
        await desk.settle(pilot)
        assert not isinstance(app.screen, PromptView)
        assert "an earlier message is being edited" in screen_text(app)


async def test_keys_scroll_the_text_and_tab_goes_round(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        app.prompt.insert("\n".join(f"line {number}" for number in range(90)))
        await opened(desk, pilot)
        await desk.wait_until(pilot, lambda: "line 89" in screen_text(app))
        await pilot.press("tab", "home")
        await desk.wait_until(pilot, lambda: "line 0" in screen_text(app))
        await pilot.press("tab")
        await pilot.press(*"title")
        assert app.screen._choice.name == "title"


async def test_the_answer_stands_under_the_reply_and_is_there_again_later(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        app.chat.set_template("word-problem")
        desk.backend.script(["Three and four. ", "The answer is 7."])
        await desk.send(pilot, "What is 3 + 4?")
        desk.backend.finish()
        await desk.settle(pilot)
        assert "answer: 7" in screen_text(app)
        desk.session = app.chat.session
    again = Desk(desk.folder)
    again.session = desk.session
    async with again.run() as pilot:
        await again.settle(pilot)
        assert "answer: 7" in screen_text(pilot.app)


# What it looks like


async def choose(desk: Desk, pilot: Pilot[Any], *keys: str) -> None:
    await desk.wait_until(pilot, lambda: bool(desk.backends))
    desk.backend.ready()
    await desk.settle(pilot)
    desk.backend.cached = 12
    pilot.app.prompt.insert("What is 3 + 4? <|im_end|>")  # type: ignore[attr-defined]
    app = await opened(desk, pilot)
    await pilot.press(*keys)
    await desk.wait_until(pilot, lambda: not app.screen._looking.asking)  # type: ignore[attr-defined]
    await pilot.pause()


def test_a_template_looks_intended(make_desk: MakeDesk, snap_compare: Any) -> None:
    desk = make_desk()

    async def prepare(pilot: Pilot[Any]) -> None:
        await choose(desk, pilot, *"word", "tab", "right", "right", "right", "down", "left", "left")

    assert snap_compare(desk.app(), terminal_size=(80, 24), run_before=prepare)


def test_inputs_and_room_look_intended(make_desk: MakeDesk, snap_compare: Any) -> None:
    desk = make_desk(theme="light")

    async def prepare(pilot: Pilot[Any]) -> None:
        await choose(desk, pilot, *"summ", "tab", "down", "3", "down")

    assert snap_compare(desk.app(), terminal_size=(120, 36), run_before=prepare)
