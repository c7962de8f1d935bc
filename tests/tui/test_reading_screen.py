"""A PDF is read beside the screen: what is typed meanwhile stays, esc stops it, and what came of it is said."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest
from screen_harness import Desk, screen_text

from lmlab.errors import UsageError
from lmlab.lab import documents
from lmlab.lab.documents import Document
from lmlab.store import Attachment
from lmlab.tui import reading

PAPER = Document(Attachment("paper.pdf", "All about apples"), pages=1)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A reader that waits for ``done``, or for being stopped, and then gives ``outcome``."""
    state: dict[str, Any] = {"done": Event(), "outcome": PAPER, "stopped": Event()}

    def read(path: str, stop: Event) -> Document:
        while not state["done"].wait(0.01):
            if stop.is_set():
                state["stopped"].set()
                raise UsageError("it was stopped")
        if isinstance(state["outcome"], UsageError):
            raise state["outcome"]
        found: Document = state["outcome"]
        return found

    monkeypatch.setattr(documents, "read", read)
    monkeypatch.setattr(reading.documents, "read", read)
    return state


@pytest.fixture
def paper(tmp_path: Path) -> Path:
    path = tmp_path / "paper.pdf"
    path.write_bytes(b"%PDF-1.4\n")
    return path


async def type_in(pilot: Any, text: str) -> None:
    pilot.app.prompt.insert(text)
    await pilot.press("enter")
    await pilot.pause()


async def test_what_is_typed_waits_for_the_file_and_goes_with_it(desk: Desk, slow: dict[str, Any], paper: Path) -> None:
    async with desk.run(size=(140, 24)) as pilot:
        await type_in(pilot, f"/read {paper}")
        assert "reading " in screen_text(pilot.app)
        assert "esc stops" in screen_text(pilot.app)
        await type_in(pilot, "What is it about?")
        assert "what you typed stays here" in screen_text(pilot.app)
        assert pilot.app.prompt.text == "What is it about?"
        slow["done"].set()
        await desk.wait_until(pilot, lambda: "paper.pdf, 1 page, 16 characters, goes with" in screen_text(pilot.app))
        await desk.settle(pilot)
        assert "with what is attached the prompt has" in screen_text(pilot.app)
        await pilot.press("enter")
        await desk.wait_until(pilot, lambda: bool(desk.backend.running))
        assert pilot.app.chat.turns[0].attachments == (PAPER.attachment,)


async def test_escape_stops_it(desk: Desk, slow: dict[str, Any], paper: Path) -> None:
    async with desk.run() as pilot:
        await type_in(pilot, f"/read {paper}")
        await pilot.press("escape")
        await desk.wait_until(pilot, slow["stopped"].is_set)
        await pilot.pause()
        assert pilot.app.chat.attachments == ()
        assert pilot.app.reading.line == ""
        await type_in(pilot, "Hello")
        assert pilot.app.chat.replying


async def test_what_is_wrong_with_it_is_said(desk: Desk, slow: dict[str, Any], paper: Path) -> None:
    slow["outcome"] = UsageError("paper.pdf is encrypted: save a copy without a password, and read that")
    slow["done"].set()
    async with desk.run() as pilot:
        await type_in(pilot, f"/read {paper}")
        await desk.wait_until(pilot, lambda: "paper.pdf is encrypted" in screen_text(pilot.app))
        assert pilot.app.chat.attachments == ()


async def test_leaving_does_not_wait_for_it(desk: Desk, slow: dict[str, Any], paper: Path) -> None:
    async with desk.run() as pilot:
        await type_in(pilot, f"/read {paper}")
        await pilot.press("ctrl+q")
    assert slow["stopped"].wait(20)


async def test_a_text_is_there_at_once(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("one")
    async with desk.run() as pilot:
        await type_in(pilot, f"/read {tmp_path / 'notes.txt'}")
        assert [file.name for file in pilot.app.chat.attachments] == ["notes.txt"]
