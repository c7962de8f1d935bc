"""The chat as a program on a terminal of its own: bytes that are no text, signals, and the terminal going away."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal_harness import PATIENCE_S, PROGRAM, Terminal


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start a chat and wait for its screen."""
    started: list[Terminal] = []

    def chat(program: str = PROGRAM, **environment: str) -> Terminal:
        started.append(Terminal(tmp_path, ["chat", "./none.gguf"], environment, program))
        started[-1].wait_for("none.gguf")
        return started[-1]

    yield chat
    for one in started:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_chat_and_gives_the_terminal_back(
    start: Callable[..., Terminal], number: signal.Signals
) -> None:
    chat = start()
    assert not chat.is_as_it_was()
    chat.process.send_signal(number)
    assert chat.wait_for_exit() == 128 + number
    assert chat.is_as_it_was()
    assert b"Traceback" not in chat.written


def test_a_terminal_that_goes_away_ends_the_chat(start: Callable[..., Terminal]) -> None:
    chat = start()
    os.close(chat.terminal)
    assert chat.process.wait(PATIENCE_S) == 128 + signal.SIGHUP


def test_bytes_that_are_not_text_become_a_mark(start: Callable[..., Terminal]) -> None:
    chat = start()
    chat.type(b"\x9b")
    chat.wait_for("\N{REPLACEMENT CHARACTER}")
    chat.type(b"\xc3")
    chat.type(b"\xa9")
    chat.wait_for("é")


def test_what_is_pasted_presses_no_key(start: Callable[..., Terminal]) -> None:
    chat = start(EDITOR="false")
    chat.type(b"\x1b[200~\x1b]0;x\x07y\x11z\x1b[201~")
    chat.wait_for("␛]0;x␇y␑z")
    assert chat.process.poll() is None


def test_an_editor_that_fails_gives_the_screen_back(start: Callable[..., Terminal]) -> None:
    chat = start(EDITOR="false")
    chat.type(b"kept\x07")
    chat.wait_for("ended with status 1")
    chat.type(b"!")
    chat.wait_for("!")
    chat.process.send_signal(signal.SIGTERM)
    assert chat.wait_for_exit() == 128 + signal.SIGTERM
    assert chat.is_as_it_was()


def test_an_interrupt_meant_for_the_editor_leaves_the_chat_alone(
    start: Callable[..., Terminal], tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nkill -INT $PPID\nprintf edited > $1\n")
    editor.chmod(0o700)
    chat = start(EDITOR=str(editor))
    chat.type(b"\x07")
    chat.wait_for("edited")
    chat.type(b"!")
    chat.wait_for("!")


def test_an_exception_while_reading_goes_to_the_log(start: Callable[..., Terminal], tmp_path: Path) -> None:
    broken = "import lmlab.tui.paste as paste\ndef feed(self, data): raise RuntimeError('boom')\n"
    chat = start(f"{broken}paste.PasteParser.feed = feed\n{PROGRAM}")
    chat.type(b"x")
    assert chat.wait_for_exit() == 1
    assert chat.is_as_it_was()
    assert b"unexpected RuntimeError: boom" in chat.written
    assert b"Traceback" not in chat.written
    assert "in feed" in (tmp_path / "logs" / "lmlab.log").read_text()
