"""The panel: keys and mouse to sampling parameters, and what it shows of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from screen_harness import Desk, screen_text
from textual import events
from textual.pilot import Pilot

from lmlab.sampling import SamplingParams
from lmlab.tui.app import ChatApp
from lmlab.tui.widgets.panel import SamplingView
from lmlab.tui.widgets.panel.rows import BY_ROW_NAME, NAMES

MakeDesk = Callable[..., Desk]


async def open_panel(pilot: Pilot[int], name: str) -> ChatApp:
    app = pilot.app
    assert isinstance(app, ChatApp)
    await pilot.press("tab", *["down"] * NAMES.index(name))
    return app


async def test_tab_goes_to_the_panel_and_back(desk: Desk) -> None:
    async with desk.run() as pilot:
        assert "min-p" not in screen_text(pilot.app)
        await pilot.press("tab")
        await pilot.pause()
        assert "min-p" in screen_text(pilot.app)
        await pilot.press("tab")
        await pilot.pause()
        assert "min-p" not in screen_text(pilot.app)
        assert pilot.app.focused is pilot.app.prompt


async def test_beside_the_panel_the_transcript_keeps_sixty_columns(desk: Desk) -> None:
    async with desk.run((100, 30)) as pilot:
        assert pilot.app.panel.region.width > 0
        assert pilot.app.transcript.region.width >= 60


async def test_arrows_nudge_and_shift_takes_ten_steps(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "temperature")
        await pilot.press("right")
        assert app.chat.asked.temperature == pytest.approx(0.85)
        await pilot.press("shift+right")
        assert app.chat.asked.temperature == pytest.approx(1.35)
        await pilot.press("left")
        assert app.chat.asked.temperature == pytest.approx(1.3)


async def test_digits_set_and_escape_abandons(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "top_k")
        await pilot.press("7", "enter")
        assert app.chat.asked.top_k == 7
        await pilot.press("9", "escape")
        assert app.chat.asked.top_k == 7
        assert app.focused is app.panel


async def test_keys_typed_in_a_burst_keep_their_order(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "temperature")
        for key, character in (("0", "0"), ("enter", "\r"), ("down", None), ("5", "5"), ("enter", "\r")):
            app.post_message(events.Key(key, character))
        await desk.wait_until(pilot, lambda: app.chat.asked.top_k is not None)
        assert app.chat.asked == SamplingParams(temperature=0, top_k=5)


async def test_escape_stops_the_reply_and_then_leaves(desk: Desk) -> None:
    async with desk.run() as pilot:
        await desk.send(pilot, "go")
        desk.backend.step(2)
        await desk.settle(pilot)
        app = await open_panel(pilot, "top_k")
        await pilot.press("9", "escape")
        assert (desk.backend.cancels, app.panel.typing) == ([], False)
        await pilot.pause()
        assert "esc stop" in screen_text(app)
        await pilot.press("escape")
        assert len(desk.backend.cancels) == 1
        assert app.focused is app.panel
        await pilot.press("escape")
        assert app.focused is app.prompt
        assert len(desk.backend.cancels) == 1


async def test_a_value_out_of_range_is_refused_with_the_range(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "top_p")
        await pilot.press("2", "enter")
        await pilot.pause()
        assert "give a number from 0 to 1" in screen_text(app).replace("\n", "")
        assert app.chat.asked.top_p is None


async def test_backspace_unsets_and_u_takes_back(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "temperature")
        await pilot.press("1", "enter", "backspace")
        assert app.chat.asked.temperature is None
        await pilot.press("u")
        assert app.chat.asked.temperature == 1
        await pilot.press("u")
        assert app.chat.asked.temperature is None
        await pilot.press("u")
        await pilot.pause()
        assert "no change to undo" in screen_text(app)


async def test_stop_texts_are_added_and_taken_away(desk: Desk) -> None:
    async with desk.run() as pilot:
        app = await open_panel(pilot, "stop")
        await pilot.press("u", "h", "enter")
        assert app.chat.asked.stop == ("uh",)
        await pilot.press("backspace")
        assert app.chat.asked.stop is None


async def test_a_change_during_a_reply_is_noted_under_it(desk: Desk) -> None:
    async with desk.run() as pilot:
        desk.backend.script(["a", "b", "c"])
        await desk.send(pilot, "go")
        desk.backend.step(3)
        app = await open_panel(pilot, "temperature")
        await pilot.press("1", ".", "3", "enter")
        await desk.settle(pilot)
        assert "…1.30" in screen_text(app)
        desk.backend.step()
        await pilot.press("tab")
        await desk.settle(pilot)
        assert "temperature 0.80 → 1.30 at token 2" in screen_text(app)


async def test_the_models_recommendation_is_marked(make_desk: MakeDesk) -> None:
    desk = make_desk(recommended=SamplingParams(temperature=0.6))
    async with desk.run((120, 30)) as pilot:
        text = screen_text(pilot.app)
        assert "◆0.60" in text
        assert "◆ from the model's file" in text


async def test_a_value_without_effect_says_why(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        await open_panel(pilot, "temperature")
        await pilot.press("0", "enter")
        await pilot.pause()
        assert "top-k, top-p, min-p, seed: no effect at temperature 0" in str(pilot.app.panel.render())


async def test_the_wheel_nudges_the_row_under_the_pointer(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        panel = pilot.app.panel
        x, y = panel.content_region.x + 3, panel.content_region.y + 1 + NAMES.index("top_k")
        wheel = {"delta_x": 0, "delta_y": 0, "button": 0, "shift": False, "meta": False, "ctrl": False}
        inside = {"x": x - panel.region.x, "y": y - panel.region.y, "screen_x": x, "screen_y": y}
        panel.post_message(events.MouseScrollUp(panel, **inside, **wheel))
        await pilot.pause()
        assert pilot.app.chat.asked.top_k == 45
        panel.post_message(events.MouseScrollDown(panel, **inside, **wheel))
        await pilot.pause()
        assert pilot.app.chat.asked.top_k == 40


async def test_a_click_on_a_bar_sets(desk: Desk) -> None:
    async with desk.run((120, 30)) as pilot:
        app = pilot.app
        y = 1 + NAMES.index("top_p")
        await pilot.click(app.panel, offset=(2 + 27 + 4, y))
        assert app.focused is app.panel
        assert app.chat.asked.top_p == pytest.approx(0.45)


def test_a_nudge_stays_in_range_and_the_first_one_keeps_the_drawn_seed() -> None:
    view = SamplingView(coming=SamplingParams(top_p=0.99, seed=None), in_force=SamplingParams(top_p=0.99, seed=77))
    assert BY_ROW_NAME["top_p"].nudged(view, 10) == 1
    assert BY_ROW_NAME["seed"].nudged(view, 1) == 77
    assert BY_ROW_NAME["stop"].nudged(view, 1) is None


@pytest.mark.parametrize(("share", "value"), [(-1, 0), (0.5, 1), (2, 2)])
def test_a_point_on_the_bar_is_a_whole_step(share: float, value: float) -> None:
    assert BY_ROW_NAME["temperature"].at(share) == value
    assert BY_ROW_NAME["top_k"].at(share) is None


def test_a_random_seed_shows_the_one_that_was_drawn() -> None:
    view = SamplingView(in_force=SamplingParams(seed=5))
    assert BY_ROW_NAME["seed"].shown(view).value == "random 5"
    assert not BY_ROW_NAME["seed"].shown(view).waiting


async def test_the_first_row_walks_the_presets_and_takes_them_back(desk: Desk) -> None:
    async with desk.run((110, 40)) as pilot:
        app = await open_panel(pilot, "preset")
        await pilot.pause()
        assert "preset              balanced" in screen_text(app)
        await pilot.press("right")
        await desk.settle(pilot)
        assert (app.chat.preset, app.chat.asked.temperature) == ("creative", 1.2)
        assert "preset              creative" in screen_text(app)
        await pilot.press("right", "shift+left")
        assert app.chat.preset == "greedy"
        await pilot.press("u", "u")
        assert app.chat.asked == SamplingParams()
        await pilot.press("down", "right", "up")
        await desk.settle(pilot)
        assert "preset              custom" in screen_text(app)
        await pilot.press("backspace")
        assert app.chat.asked == SamplingParams()


async def test_what_the_model_recommends_is_no_preset_of_ours(make_desk: MakeDesk) -> None:
    desk = make_desk(recommended=SamplingParams(temperature=0.6))
    async with desk.run((110, 40)) as pilot:
        await desk.settle(pilot)
        assert "preset              the model's" in screen_text(pilot.app)
        app = await open_panel(pilot, "preset")
        await pilot.press("left")
        assert app.chat.preset == "creative"


async def test_best_of_is_nudged_typed_unset_and_taken_back(desk: Desk) -> None:
    async with desk.run((120, 36)) as pilot:
        app = await open_panel(pilot, "best_of")
        await pilot.press("right", "right")
        assert app.chat.best_of == 3
        await pilot.press("8", "enter", "left")
        assert app.chat.best_of == 7
        await pilot.press("u")
        assert app.chat.best_of == 8
        await pilot.press("backspace", "left")
        assert app.chat.best_of == 1
        await pilot.press("6", "5", "enter")
        await pilot.pause()
        assert "give a whole number from 1 to 64" in " ".join(str(app.panel.render()).split())
        await pilot.press("1", ".", "5", "enter")
        await pilot.pause()
        assert "best of 1.5: give a whole number" in " ".join(str(app.panel.render()).split())
        assert app.chat.best_of == 1


async def test_what_chooses_is_walked_and_typed(desk: Desk) -> None:
    async with desk.run((120, 36)) as pilot:
        app = await open_panel(pilot, "select")
        assert "No effect while best of is 1" in str(app.panel.render())
        await pilot.press("right")
        assert str(app.chat.selector) == "vote"
        await pilot.press("right", "right")
        assert str(app.chat.selector) == "judge"
        await pilot.press(*"regex:u", "enter")
        assert str(app.chat.selector) == "regex:u"
        await pilot.press(*"vota", "enter")
        await pilot.pause()
        assert "did you mean vote?" in str(app.panel.render())
        await pilot.press("escape", "left")
        assert str(app.chat.selector) == "judge"
        await pilot.press("backspace")
        assert str(app.chat.selector) == "logprob"


def test_more_candidates_than_the_model_draws_at_once_is_said() -> None:
    help_text = BY_ROW_NAME["best_of"].help(SamplingView(best_of=12, at_once=8))
    assert "loaded for 8 at once" in help_text
    assert "loaded for" not in BY_ROW_NAME["best_of"].help(SamplingView(best_of=8, at_once=8))
