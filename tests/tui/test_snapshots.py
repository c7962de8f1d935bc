"""Pictures of the states that must look intended. ``pytest --snapshot-update`` draws them anew: look at each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from screen_harness import Desk, screen_text
from textual.pilot import Pilot

from lmlab.backends import Prefill, Started
from lmlab.backends.fake import FakeCandidate, fake_info
from lmlab.errors import EngineStopped, ModelNotFound
from lmlab.lab.events import Fetching, Notice
from lmlab.models import Progress
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.store import Reply, Session, Turn

MakeDesk = Callable[..., Desk]
Act = Callable[[Desk, Pilot[Any]], Awaitable[None]]

SMALL, WIDE = (80, 24), (200, 50)

QUESTION = "If a train leaves at 3 and takes two hours, when does it arrive?"
REPLY = """Let's think step by step. The train leaves at **3 o'clock** and takes *two hours*.

1. Start at `3`.
2. Add two hours:
   - one hour is 4
   - two hours is 5

```python
arrival = 3 + 2  # hours
print(f"The answer is {arrival}.")
```

| leaves | takes | arrives |
|--------|-------|---------|
| 3      | 2 h   | 5       |

> The answer is 5.
"""


def pieces() -> list[str]:
    return [REPLY[start : start + 4] for start in range(0, len(REPLY), 4)]


async def converse(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.script(pieces(), prompt_tokens=812, cached=790)
    await desk.send(pilot, QUESTION)
    desk.backend.finish()
    await desk.settle(pilot)


async def stream(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.script(pieces(), prompt_tokens=812, cached=790)
    await desk.send(pilot, QUESTION)
    for _ in range(70):
        desk.backend.step()
        await desk.wait_until(pilot, lambda: desk.inbox.empty)
        desk.clock.now += 0.01
    await desk.settle(pilot)


async def nothing(desk: Desk, pilot: Pilot[Any]) -> None:
    await desk.settle(pilot)


async def fetch(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.tell(Notice("smollm2 comes from huggingface.co: it is quick rather than clever."))
    desk.tell(Fetching(Progress("smollm2 from huggingface.co", 0, 98_000_000)))
    await desk.wait_until(pilot, lambda: desk.inbox.empty)
    desk.clock.now += 4
    desk.tell(Fetching(Progress("smollm2 from huggingface.co", 38_000_000, 98_000_000)))
    await desk.settle(pilot)


async def load_with_a_message_waiting(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.start()
    await desk.send(pilot, QUESTION)
    desk.backend.loading(0.43)
    await desk.settle(pilot)


async def read_a_long_prompt(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.script(pieces(), prompt_tokens=6000)
    await desk.send(pilot, QUESTION)
    name = desk.backend.requests[-1].id
    desk.backend.emit(Started(name, 6000, 790, DEFAULTS))
    await desk.wait_until(pilot, lambda: desk.inbox.empty)
    desk.clock.now += 5
    desk.backend.emit(Prefill(name, 2340, 6000))
    await desk.wait_until(pilot, lambda: desk.inbox.empty)
    pilot.app.catch_up()  # type: ignore[attr-defined]
    await pilot.pause()


async def draw_candidates(desk: Desk, pilot: Pilot[Any]) -> None:
    pilot.app.chat.set_best_of(3)  # type: ignore[attr-defined]
    answers = ("It arrives at 6, I should think, or thereabouts.", "It arrives at 5.", "At 5.")
    desk.backend.script_candidates(
        [FakeCandidate(text, logprob=logprob) for text, logprob in zip(answers, (-0.9, -0.21, -0.4), strict=True)],
        prompt_tokens=812,
        cached=790,
    )
    await desk.send(pilot, QUESTION)
    for _ in range(4):
        desk.backend.step()
        await desk.wait_until(pilot, lambda: desk.inbox.empty)
        desk.clock.now += 0.01
    await desk.settle(pilot)


async def choose_a_candidate(desk: Desk, pilot: Pilot[Any]) -> None:
    await draw_candidates(desk, pilot)
    desk.backend.finish()
    await desk.settle(pilot)
    pilot.app.prompt.insert("/candidates")  # type: ignore[attr-defined]
    await pilot.press("enter")
    await desk.settle(pilot)


async def look_at_candidates(desk: Desk, pilot: Pilot[Any]) -> None:
    await draw_candidates(desk, pilot)
    desk.backend.finish()
    await desk.settle(pilot)
    await pilot.press("f4", "right")
    await desk.settle(pilot)


async def stop_with_a_change(desk: Desk, pilot: Pilot[Any]) -> None:
    await stream(desk, pilot)
    await pilot.press("tab", "1", ".", "3", "enter", "tab")
    desk.backend.step()
    await desk.settle(pilot)
    await pilot.press("escape")
    await desk.settle(pilot)


async def fill_the_context(desk: Desk, pilot: Pilot[Any]) -> None:
    desk.backend.script(["The end of the context is"], prompt_tokens=8191, reason="context")
    await desk.send(pilot, QUESTION)
    desk.backend.finish()
    await desk.settle(pilot)


async def lose_the_engine(desk: Desk, pilot: Pilot[Any]) -> None:
    await stream(desk, pilot)
    desk.backend.crash(EngineStopped("the engine stopped: killed by signal 9"))
    await desk.settle(pilot)


async def open_the_panel(desk: Desk, pilot: Pilot[Any]) -> None:
    await converse(desk, pilot)
    await pilot.press("tab", "down", "0", "enter", "down", "4")
    await desk.settle(pilot)


async def complete_a_command(desk: Desk, pilot: Pilot[Any]) -> None:
    await converse(desk, pilot)
    await pilot.press("slash", "s")
    await desk.settle(pilot)


async def ask_for_help(desk: Desk, pilot: Pilot[Any]) -> None:
    await pilot.press("f1")
    await pilot.pause()


def remember_sessions(desk: Desk) -> None:
    """Sessions of a year that is over, so that their pictures stay as they are."""
    titles = ("Word problems about trains", "日本語の要約", "Explain monads to a cat", "Prime numbers", "")
    for number in range(24):
        when = datetime(2024, 5, 1 + number, 12, tzinfo=UTC)
        name = f"abcd{number:02}"
        turns = [Turn(1, name, None, QUESTION, when)]
        for turn in range(2, 2 + number % 5):
            reply = Reply(status="done", model=("smollm2", "gemma3-270m")[number % 2]) if turn % 2 == 0 else None
            turns.append(Turn(turn, name, turn - 1, "It arrives at 5." if reply else "Sure?", when, reply=reply))
        session = Session(name, titles[number % 5], when, when, "smollm2", leaf=len(turns))
        desk.store.add_session(session, turns, {}, copy=False)


async def list_sessions(desk: Desk, pilot: Pilot[Any]) -> None:
    remember_sessions(desk)
    await pilot.press("ctrl+o", "down", "down", "d")
    await desk.wait_until(pilot, lambda: "u undo" in screen_text(pilot.app))


async def search_sessions(desk: Desk, pilot: Pilot[Any]) -> None:
    remember_sessions(desk)
    await pilot.press("ctrl+o", "slash", *"arrives at 5")
    await desk.wait_until(pilot, lambda: "is in 19" in screen_text(pilot.app))
    await pilot.press("down")
    await desk.wait_until(pilot, lambda: "begun 2024-05-23" in screen_text(pilot.app))


STATES: dict[str, tuple[Act, tuple[int, int], dict[str, Any]]] = {
    "first-picture": (nothing, SMALL, {}),
    "fetching": (fetch, SMALL, {"load_at_once": False}),
    "loading": (load_with_a_message_waiting, SMALL, {"load_at_once": False}),
    "reading-the-prompt": (read_a_long_prompt, SMALL, {}),
    "streaming": (stream, SMALL, {}),
    "drawing-candidates": (draw_candidates, SMALL, {}),
    "candidate-chosen": (choose_a_candidate, SMALL, {}),
    "candidates": (look_at_candidates, SMALL, {}),
    "candidates-wide": (look_at_candidates, (120, 36), {"theme": "light"}),
    "sessions": (list_sessions, SMALL, {}),
    "sessions-search": (search_sessions, (120, 36), {}),
    "stopped": (stop_with_a_change, SMALL, {}),
    "context-full": (fill_the_context, SMALL, {}),
    "engine-gone": (lose_the_engine, SMALL, {"theme": "light"}),
    "no-model": (
        nothing,
        SMALL,
        {"error": ModelNotFound("no model is called 'smolm': did you mean smollm2?"), "model_ref": "smolm"},
    ),
    "panel-over": (open_the_panel, SMALL, {}),
    "completing": (complete_a_command, SMALL, {"theme": "light"}),
    "help": (ask_for_help, SMALL, {}),
    "wide": (open_the_panel, WIDE, {"recommended": SamplingParams(top_p=0.9)}),
    "wide-light": (converse, WIDE, {"theme": "light", "info": replace(fake_info(), chat_template=False)}),
}


@pytest.mark.parametrize("state", STATES)
def test_it_looks_intended(state: str, make_desk: MakeDesk, snap_compare: Any) -> None:
    act, size, options = STATES[state]
    desk = make_desk(**options)

    async def prepare(pilot: Pilot[Any]) -> None:
        if desk.error is None:
            await desk.wait_until(pilot, lambda: bool(desk.backends))
            if desk.load_at_once:
                desk.backend.ready()
        else:
            await desk.wait_until(pilot, lambda: not desk.inbox.empty or bool(pilot.app.query("SaidLine")))
        await desk.settle(pilot)
        await act(desk, pilot)

    assert snap_compare(desk.app(), terminal_size=size, run_before=prepare)
