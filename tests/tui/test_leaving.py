"""The end of a chat on the screen: by a signal, and with something that could not be saved."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from screen_harness import Desk

from lmlab.errors import StoreError
from lmlab.lab.chat import Chat, ChatEvent, SaveFailed
from lmlab.tui import run_chat
from lmlab.tui.app import ChatApp
from lmlab.tui.signals import answered


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Where the tests run in the background, interrupts are ignored, and what is ignored stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


async def test_an_interrupt_stops_the_reply_and_the_next_ends_the_chat(desk: Desk) -> None:
    async with desk.run() as pilot:
        with answered(pilot.app, pilot.app.chat.stop, asyncio.get_running_loop()):
            await desk.send(pilot, "hi")
            signal.raise_signal(signal.SIGINT)
            await desk.wait_until(pilot, lambda: bool(desk.backend.cancels))
            assert pilot.app.is_running
            signal.raise_signal(signal.SIGINT)
            await desk.wait_until(pilot, lambda: pilot.app.return_value == 130)


async def test_being_told_to_end_ends_the_chat_whatever_it_does(desk: Desk) -> None:
    async with desk.run() as pilot:
        with answered(pilot.app, pilot.app.chat.stop, asyncio.get_running_loop()):
            await desk.send(pilot, "hi")
            signal.raise_signal(signal.SIGTERM)
            await desk.wait_until(pilot, lambda: pilot.app.return_value == 128 + signal.SIGTERM)


@pytest.mark.parametrize("ignored", [False, True])
def test_signals_are_afterwards_as_they_were(desk: Desk, ignored: bool) -> None:
    ours = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(signal.SIGINT, ours)
    loop = asyncio.new_event_loop()
    try:
        with answered(app := desk.app(), app.chat.stop, loop):
            assert (signal.getsignal(signal.SIGINT) is ours) == ignored
        assert signal.getsignal(signal.SIGINT) is ours
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)


def test_a_reply_that_could_not_be_saved_is_said_and_fails(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    session = desk.remember_turns(1)
    chat = desk.app().chat

    def make_chat(listener: Callable[[ChatEvent], None]) -> Chat:
        # What was told before is shown, or was made good.
        listener(SaveFailed(StoreError("busy")))
        monkeypatch.setattr(chat, "close", lambda: listener(SaveFailed(StoreError("the disk is\x1b full"))))
        return chat

    monkeypatch.setattr(ChatApp, "run", lambda app, **how: 0)
    assert run_chat(make_chat, model_ref=None, theme=None, history=tmp_path / "history") == 1
    assert capsys.readouterr().err == (
        "lmlab: the end of the last reply is not saved: the disk is␛ full\n"
        f"session {session.id} goes on with what was saved: lmlab chat --session {session.id}\n"
    )
