"""The conversation on the screen: following, old turns, selection, and text that would like to be more than text."""

from __future__ import annotations

from collections.abc import Callable

from screen_harness import Desk, screen_text

from lmlab.errors import EngineStopped
from lmlab.lab.events import Notice

MakeDesk = Callable[..., Desk]

NASTY = "[red]x[/red] \x1b[31mred\x1b[0m \x9b2J [@click=app.quit]y[/] $accent"


async def test_markup_and_escapes_are_text_everywhere(make_desk: MakeDesk) -> None:
    desk = make_desk(ref=f"m[bold]x{chr(27)}")
    async with desk.run((120, 40)) as pilot:
        desk.backend.script([NASTY, "\n\n```py\n", NASTY, "\n```\n"], error=EngineStopped(f"stopped {NASTY}"))
        await desk.send(pilot, NASTY)
        desk.backend.finish()
        desk.tell(Notice(NASTY))
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "\x1b" not in text
        assert "\x9b" not in text
        shown = "[red]x[/red] ␛[31mred␛[0m ‹U+009B›2J [@click=app.quit]y[/] $accent"
        assert text.count(shown) == 5
        assert "m[bold]x␛" in text


async def test_entities_cannot_smuggle_control_characters(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["&#27;[2J &#x202e; [link](http://x/%1b%5b2J) <http://y/%1b>"])
        await desk.send(pilot, "go")
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "&#27;[2J &#x202e;" in text


async def test_wide_characters_and_emoji_arrive_whole(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["漢字" * 60, "\n\n", "👩\u200d🔬 ok"])
        await desk.send(pilot, "こんにちは")
        desk.backend.finish()
        await desk.settle(pilot)
        text = screen_text(pilot.app)
        assert text.count("漢字") >= 55
        assert "こんにちは" in text
        assert " ok" in text


async def test_scrolling_up_stops_following_and_end_follows_again(desk: Desk) -> None:
    async with desk.run() as pilot:
        transcript = pilot.app.transcript
        desk.backend.script([f"line {number}\n\n" for number in range(200)])
        await desk.send(pilot, "go")
        desk.backend.step(60)
        await desk.settle(pilot)
        assert transcript.following
        await pilot.press("pageup")
        await desk.settle(pilot)
        place = transcript.scroll_y
        desk.backend.step(60)
        await desk.settle(pilot)
        assert transcript.scroll_y == place
        assert "end follow" in screen_text(pilot.app)
        await pilot.press("end")
        await desk.wait_until(pilot, lambda: transcript.following)
        desk.backend.step(60)
        await desk.settle(pilot)
        assert transcript.following
        assert "line 177" in screen_text(pilot.app)


async def test_a_reply_of_five_thousand_lines_is_one_widget(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["".join(f"- item {number}\n" for number in range(5000))])
        await desk.send(pilot, "go")
        desk.backend.finish()
        await desk.settle(pilot)
        assert "item 4999" in screen_text(pilot.app)
        assert pilot.app.transcript.virtual_size.height > 5000
        assert len(list(pilot.app.transcript.walk_children())) < 12


async def test_a_resize_while_a_reply_streams_wraps_it_anew(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        desk.backend.script(["word " * 40, "more ", "end"])
        await desk.send(pilot, "go")
        desk.backend.step(3)
        await desk.settle(pilot)
        await pilot.resize_terminal(70, 24)
        desk.backend.finish()
        await desk.settle(pilot)
        assert all(len(line) <= 70 for line in screen_text(pilot.app).splitlines())
        assert "more end" in " ".join(screen_text(pilot.app).split())


async def test_an_old_session_opens_with_its_last_turns_and_shows_more_above(desk: Desk) -> None:
    desk.remember_turns(100)
    async with desk.run() as pilot:
        transcript = pilot.app.transcript
        assert "reply 99" in screen_text(pilot.app)
        assert len(transcript.query("UserTurn")) == 15
        await pilot.press("ctrl+home")
        await desk.wait_until(pilot, lambda: len(transcript.query("UserTurn")) == 30)
        await desk.settle(pilot)
        assert transcript.scroll_y > 0


async def test_selected_text_is_copied_as_it_was_written(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        desk.backend.script(["one " * 30, "\n\n```\ncode line\n```"])
        await desk.send(pilot, "go")
        desk.backend.finish()
        await desk.settle(pilot)
        app.transcript.text_select_all()
        await pilot.press("ctrl+c")
        assert ("one " * 30).strip() in app.clipboard
        assert "code line\n" in app.clipboard
        await desk.settle(pilot)
        assert "copied" in screen_text(app)
        assert app.is_running


async def test_a_mouse_drag_selects_part_of_a_line(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = pilot.app
        desk.backend.script(["hello brave world"])
        await desk.send(pilot, "go")
        desk.backend.finish()
        await desk.settle(pilot)
        lines = screen_text(app).splitlines()
        y = next(index for index, line in enumerate(lines) if "brave" in line)
        x = lines[y].index("brave")
        await pilot.mouse_down(offset=(x, y))
        await pilot.hover(offset=(x + 5, y))
        await pilot.mouse_up(offset=(x + 5, y))
        assert app.screen.get_selected_text() == "brave"
