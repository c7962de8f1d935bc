"""Pictures of the tokens view. ``pytest --snapshot-update`` draws them anew: look at each."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from screen_harness import Desk
from textual.pilot import Pilot
from tokens_oracle import CHANCES, PIECES, Oracle, converse, open_tokens

MakeDesk = Callable[..., Desk]
Act = Callable[[Desk, Pilot[Any]], Awaitable[None]]


async def choose_a_candidate(desk: Desk, pilot: Pilot[Any]) -> None:
    await converse(desk, pilot)
    await open_tokens(desk, pilot)
    await pilot.press("n", "tab", "down", "down")


async def turn_a_slider(desk: Desk, pilot: Pilot[Any]) -> None:
    await converse(desk, pilot)
    await open_tokens(desk, pilot)
    await pilot.press("n", "[", "[", "t", *["left"] * 7)


async def watch_it_stream(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.script(PIECES, logprobs=[math.log(chance) for chance in CHANCES])
    await desk.send(pilot, "What is the capital of France?")
    desk.backend.step(12)
    await desk.settle(pilot)
    await open_tokens(desk, pilot)


STATES: dict[str, tuple[Act, tuple[int, int], dict[str, Any]]] = {
    "candidate": (choose_a_candidate, (80, 24), {}),
    "slider": (turn_a_slider, (120, 36), {}),
    "streaming-light": (watch_it_stream, (80, 24), {"theme": "light"}),
}


@pytest.mark.parametrize("state", STATES)
def test_the_tokens_view_looks_intended(state: str, make_desk: MakeDesk, snap_compare: Any) -> None:
    act, size, options = STATES[state]
    desk = make_desk(**options)

    async def prepare(pilot: Pilot[Any]) -> None:
        await desk.wait_until(pilot, lambda: bool(desk.backends))
        desk.backend.ready()
        Oracle(desk.backend)
        await desk.settle(pilot)
        await act(desk, pilot)
        view: Any = pilot.app.screen
        await desk.wait_until(pilot, lambda: view.state.looks.up_to_date)
        await pilot.pause()

    assert snap_compare(desk.app(), terminal_size=size, run_before=prepare)
