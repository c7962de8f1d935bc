"""Pictures of the compare screen. ``pytest --snapshot-update`` draws them anew: look at each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from compare_harness import Table, prompts
from textual.pilot import Pilot

from lmlab.backends.fake import FakeBackend

Act = Callable[[Table, Pilot[Any]], Awaitable[None]]

QUESTION = "If a train leaves at 3 and takes two hours, when does it arrive?"
REPLIES = {
    "calm": "The train leaves at **3 o'clock** and takes two hours.\n\nIt arrives at 5 o'clock.",
    "hot": "The train leaves at **3 o'clock** and takes *two* hours, give or take.\n\n1. Start at 3.\n2. Add 2.\n\n"
    "It arrives at 6 o'clock.",
    "terse": "At 5.",
    "lost": "Which train?",
}


def prepare(backend: FakeBackend) -> None:
    """Have every answer be the reply of its model, in pieces of four characters."""
    reply = REPLIES[Path(backend.spec.path).stem]
    for _ in range(4):
        backend.script([reply[start : start + 4] for start in range(0, len(reply), 4)], prompt_tokens=52, cached=32)


async def stream(table: Table, pilot: Pilot[Any]) -> None:
    app: Any = pilot.app
    for name in table.models:
        await table.wait_until(pilot, lambda name=name: name in table.backends)
        table.backends[name].ready()
    await table.wait_until(pilot, lambda: app.state.asking)
    for name in table.models:
        await table.wait_until(pilot, lambda name=name: table.backends[name].running)
    start = table.clock.now
    # However long that took.
    for live in app.state.answers:
        live.asked = start
    for step in range(8):
        table.clock.now = start + step / 8
        for number, name in enumerate(table.models):
            table.backends[name].step(2 if number else 1)
        app.catch_up()
        await pilot.pause()
    table.clock.now += 1.0
    app.catch_up()
    await pilot.pause()


async def vote_and_mark(table: Table, pilot: Pilot[Any]) -> None:
    await table.all_in(pilot)
    await pilot.press("r", "d")
    await pilot.pause()


async def judge_four(table: Table, pilot: Pilot[Any]) -> None:
    await table.all_in(pilot)
    await pilot.press("right", "right")
    await pilot.pause()


STATES: dict[str, tuple[Act, tuple[int, int], dict[str, Any]]] = {
    "streaming": (stream, (80, 24), {"auto": False}),
    "differences": (vote_and_mark, (80, 24), {}),
    "four-blind": (judge_four, (120, 36), {"models": tuple(REPLIES), "blind": True}),
}


@pytest.mark.parametrize("state", STATES)
def test_the_compare_screen_looks_intended(state: str, tmp_path: Path, snap_compare: Any) -> None:
    act, size, options = STATES[state]
    table = Table(tmp_path, prepare=prepare, asked=prompts(QUESTION, "And back?"), **options)

    async def before(pilot: Pilot[Any]) -> None:
        await act(table, pilot)

    with table.app() as app:
        assert snap_compare(app, terminal_size=size, run_before=before)
