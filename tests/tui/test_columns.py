"""Columns: as many as fit, each by itself; what streams into one moves nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from screen_harness import screen_text
from textual import events
from textual.app import App, ComposeResult
from textual.content import Content
from textual.pilot import Pilot
from textual.screen import Screen
from textual.strip import Strip

import lmlab.tui
from lmlab.tui.themes import DARK
from lmlab.tui.widgets.columns import Columns
from lmlab.tui.widgets.columns.text import ColumnText

STYLES = Path(lmlab.tui.__file__).parent


class Stand(App[None]):
    """Nothing but columns, and what they said."""

    CSS_PATH = [STYLES / "widgets/prose.tcss", STYLES / "widgets/columns/columns.tcss"]  # noqa: RUF012 - Textual's own

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns
        self.picked: list[int] = []
        self.moved: list[int] = []

    def get_css_variables(self) -> dict[str, str]:
        self.register_theme(DARK)
        return {**super().get_css_variables(), "text-muted": "#888888"}

    def compose(self) -> ComposeResult:
        yield self.columns

    def on_columns_picked(self, event: Columns.Picked) -> None:
        self.picked.append(event.index)

    def on_columns_moved(self, event: Columns.Moved) -> None:
        self.moved.append(event.index)


@asynccontextmanager
async def stand(columns: Columns, size: tuple[int, int] = (80, 20)) -> AsyncIterator[Pilot[None]]:
    app = Stand(columns)
    async with app.run_test(size=size) as pilot:
        if columns.can_focus:
            columns.focus()
        await pilot.pause()
        yield pilot


def lines_of(columns: Columns, index: int, count: int) -> None:
    columns.column(index).append("\n\n".join(f"text {index} line {number}" for number in range(count)))


def app_of(pilot: Pilot[None]) -> Stand:
    app = pilot.app
    assert isinstance(app, Stand)
    return app


async def shown(pilot: Pilot[Any]) -> str:
    await pilot.pause()
    await pilot.pause()
    return screen_text(pilot.app)


@pytest.mark.parametrize(("width", "count", "fit"), [(71, 5, 1), (72, 5, 2), (120, 3, 3), (120, 4, 3), (200, 2, 2)])
async def test_as_many_as_fit_stand_side_by_side(width: int, count: int, fit: int) -> None:
    columns = Columns([f"name {index}" for index in range(count)])
    async with stand(columns, (width, 20)) as pilot:
        for index in range(count):
            lines_of(columns, index, 1)
        text = await shown(pilot)
        assert columns.shown == range(fit)
        assert columns.paged == (fit < count)
        assert [f"text {index} line" in text for index in range(count)] == [index < fit for index in range(count)]


async def test_keys_bring_the_others_into_sight_with_what_came_meanwhile() -> None:
    columns = Columns(["one", "two", "three"])
    async with stand(columns) as pilot:
        lines_of(columns, 2, 2)
        columns.column(2).append(" and more")
        assert "text 2" not in await shown(pilot)
        await pilot.press("3")
        text = await shown(pilot)
        assert "text 2 line 1 and more" in text
        assert (columns.current, columns.shown) == (2, range(1, 3))
        await pilot.press("left")
        assert (columns.current, columns.shown) == (1, range(1, 3))
        await pilot.press("left", "left")
        assert (columns.current, columns.shown) == (0, range(2))
        await pilot.press("9")
        assert columns.current == 0
        await pilot.press("right", "enter")
        await pilot.pause()
        assert app_of(pilot).picked == [1]
        assert app_of(pilot).moved[-1] == 1


async def test_a_column_out_of_sight_is_not_on_the_screen_until_somebody_looks() -> None:
    columns = Columns([str(index) for index in range(64)])
    async with stand(columns) as pilot:
        for index in range(64):
            lines_of(columns, index, 1)
        assert len(pilot.app.query("Column")) == 2
        columns.choose(63)
        assert "text 63 line 0" in await shown(pilot)
        assert "›64" in screen_text(pilot.app)


async def test_clicks_choose_and_a_title_picks() -> None:
    columns = Columns(["one", "two", "three"])
    async with stand(columns) as pilot:
        await pilot.click(columns.column(1).body, offset=(3, 3))
        await pilot.pause()
        assert (columns.current, app_of(pilot).picked) == (1, [])
        await pilot.click(columns.column(0).heading, offset=(3, 0))
        await pilot.pause()
        assert (columns.current, app_of(pilot).picked) == (0, [0])
        at = (await shown(pilot)).splitlines()[0].index("3 three")
        await pilot.click(offset=(at, 0))
        await pilot.pause()
        assert (columns.current, app_of(pilot).picked) == (2, [0])


async def test_each_follows_its_own_end_until_somebody_scrolls_up() -> None:
    columns = Columns(["one", "two"])
    async with stand(columns) as pilot:
        lines_of(columns, 0, 30)
        lines_of(columns, 1, 30)
        text = await shown(pilot)
        assert "text 0 line 29" in text
        assert "text 1 line 29" in text
        await pilot.press("pageup")
        assert (columns.column(0).following, columns.column(1).following) == (False, True)
        lines_of(columns, 0, 1)
        columns.column(0).append("\n\nend 0")
        columns.column(1).append("\n\nend 1")
        text = await shown(pilot)
        assert "end 0" not in text
        assert "end 1" in text
        await pilot.press("end")
        assert columns.column(0).following
        columns.column(0).append("\n\nand on")
        assert "and on" in await shown(pilot)


async def test_a_text_that_is_there_is_read_from_its_beginning() -> None:
    columns = Columns(["one", "two"])
    columns.column(0).set_text("first\n\n" * 40)
    async with stand(columns) as pilot:
        assert "first" in (await shown(pilot)).splitlines()[1]
        assert not columns.column(0).following
        await pilot.resize_terminal(100, 20)
        await pilot.pause()
        assert "first" in (await shown(pilot)).splitlines()[1]
        await pilot.press("down")
        assert "first" not in (await shown(pilot)).splitlines()[1]
        columns.column(0).clear()
        columns.column(0).append("other")
        assert "other" in (await shown(pilot)).splitlines()[1]


async def test_a_resize_wraps_anew_and_stays_at_the_end() -> None:
    columns = Columns(["one", "two"])
    async with stand(columns, (120, 12)) as pilot:
        columns.column(0).append("word " * 300 + "last")
        columns.column(1).append("short")
        assert "last" in await shown(pilot)
        await pilot.resize_terminal(75, 10)
        text = await shown(pilot)
        assert "last" in text
        assert all(len(line) <= 75 for line in text.splitlines())
        await pilot.resize_terminal(40, 10)
        assert columns.paged
        assert "last" in await shown(pilot)


async def test_the_title_the_text_and_the_facts_begin_in_one_line_from_top_to_bottom() -> None:
    columns = Columns(["one", "two"])
    async with stand(columns) as pilot:
        for index in range(2):
            columns.column(index).append("text")
            columns.column(index).show_status(["fact"])
        rows = (await shown(pilot)).splitlines()
        places = [re.finditer("1 one|2 two|text|fact", row) for row in rows]
        found = [[match.start() for match in row] for row in places]
        assert len([row for row in found if row]) == 3
        assert len({tuple(row) for row in found if row}) == 1, found


async def test_facts_stand_at_one_height_and_break_between_facts() -> None:
    columns = Columns(["one", "two"])
    async with stand(columns) as pilot:
        columns.column(0).show_status(["alpha"])
        columns.column(1).show_status(["beta", "gamma delta epsilon · zeta eta theta iota kappa"], error="lost")
        rows = (await shown(pilot)).splitlines()
        first = next(number for number, row in enumerate(rows) if "alpha" in row)
        assert "beta" in rows[first]
        assert [part in rows[first + offset] for offset, part in ((1, "gamma"), (2, "zeta"), (3, "lost"))] == [True] * 3
        assert first == len(rows) - 4


async def test_titles_marks_and_texts_are_text() -> None:
    columns = Columns(["[bold]x\x1b"])
    async with stand(columns) as pilot:
        columns.column(0).title("[red]y\x1b[2J", "✓")
        columns.column(0).append("\x9b[@click=app.quit]z[/]")
        columns.column(0).show_status(["[b]s\x1b"])
        text = await shown(pilot)
        assert "\x1b" not in text
        assert "\x9b" not in text
        for expected in ("[red]y␛[2J ✓", "‹U+009B›[@click=app.quit]z[/]", "[b]s␛"):
            assert expected in text


async def test_another_content_stands_in_for_the_text_that_goes_on_growing() -> None:
    columns = Columns(["one"])
    async with stand(columns) as pilot:
        columns.column(0).append("the text")
        columns.column(0).overlay(Content.styled("the difference", "bold"))
        columns.column(0).append(" grows")
        text = await shown(pilot)
        assert "the difference" in text
        assert "the text" not in text
        columns.column(0).overlay(None)
        text = await shown(pilot)
        assert "the difference" not in text
        assert "the text grows" in text


async def test_with_a_limit_it_grows_by_leaps_up_to_there() -> None:
    columns = Columns(["one", "two"], lines=18, focusable=False)
    async with stand(columns) as pilot:
        lines_of(columns, 0, 2)
        lines_of(columns, 1, 1)
        await shown(pilot)
        assert columns.size.height == 1 + 8
        lines_of(columns, 0, 5)
        await shown(pilot)
        assert columns.size.height == 1 + 16
        lines_of(columns, 1, 30)
        assert "text 1 line 29" in await shown(pilot)
        assert columns.size.height == 1 + 18
        columns.set_lines(4)
        await shown(pilot)
        assert columns.size.height == 1 + 4


async def test_what_streams_lays_nothing_out_and_draws_its_own_column_only(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns(["one", "two"])
    async with stand(columns) as pilot:
        lines_of(columns, 0, 40)
        lines_of(columns, 1, 40)
        await shown(pilot)
        drawn: set[ColumnText] = set()
        layouts: list[Screen[Any]] = []
        render_line, refresh_layout = ColumnText.render_line, Screen._refresh_layout

        def draw(body: ColumnText, y: int) -> Strip:
            drawn.add(body)
            return render_line(body, y)

        def lay_out(screen: Screen[Any], *args: Any, **named: Any) -> None:
            layouts.append(screen)
            refresh_layout(screen, *args, **named)

        monkeypatch.setattr(ColumnText, "render_line", draw)
        monkeypatch.setattr(Screen, "_refresh_layout", lay_out)
        columns.column(1).append("\n\nanother line")
        assert "another line" in await shown(pilot)
        assert (drawn, layouts) == ({columns.column(1).body}, [])


async def test_the_wheel_scrolls_the_column_under_the_pointer_and_the_mouse_selects() -> None:
    columns = Columns(["one", "two"])
    async with stand(columns) as pilot:
        lines_of(columns, 0, 30)
        lines_of(columns, 1, 30)
        await shown(pilot)
        body = columns.column(1).body
        wheel: dict[str, Any] = {"delta_x": 0, "delta_y": 0, "button": 0, "shift": False, "meta": False, "ctrl": False}
        at = body.region.offset
        body.post_message(events.MouseScrollUp(body, x=1, y=1, screen_x=at.x + 1, screen_y=at.y + 1, **wheel))
        await pilot.pause()
        assert (columns.column(0).following, columns.column(1).following) == (True, False)
        row = next(
            number for number, line in enumerate(screen_text(pilot.app).splitlines()) if "text 0 line 29" in line
        )
        await pilot.mouse_down(offset=(1, row))
        await pilot.hover(offset=(7, row))
        await pilot.mouse_up(offset=(7, row))
        assert pilot.app.screen.get_selected_text() == "text 0"
