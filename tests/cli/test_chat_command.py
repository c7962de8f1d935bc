from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from harness import Fake, Lmlab, Terminal

import lmlab.tui
from lmlab.lab.chat import Chat


class Screen:
    """Stands in for the chat on the screen."""

    def __init__(self) -> None:
        self.options: dict[str, Any] | None = None
        self.chat: Chat | None = None

    def run_chat(self, make_chat: Any, **options: Any) -> int:
        self.options = options
        self.chat = make_chat(lambda event: None)
        self.chat.close()
        return 7


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr(lmlab.tui, "run_chat", screen.run_chat)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def chat(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run ``lmlab chat`` on a terminal whose keyboard says Ctrl-D at once."""

    def at_end(prompt: str = "") -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", at_end)
    with Terminal() as keyboard, Terminal() as shown:
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setattr(sys, "stderr", shown)
        return lmlab("chat", *arguments, stdin=keyboard).code


def test_best_of_and_its_selector_reach_the_chat(
    fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chat(lmlab, monkeypatch, "--best-of", "12", "--select", "vote") == 7
    assert screen.chat is not None
    assert (screen.chat.best_of, str(screen.chat.selector)) == (12, "vote")


def test_a_terminal_is_filled_by_the_screen(
    fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    home.mkdir()
    (home / "config.toml").write_text('theme = "nord"\n[sampling]\ntop_k = 3\n[aliases]\nsmall = "x"\n')
    assert chat(lmlab, monkeypatch, "some-model", "--temp", "0.3", "--system", "Be brief") == 7
    assert screen.options is not None
    assert (screen.options["model_ref"], screen.options["theme"]) == ("some-model", "nord")
    assert (screen.options["history"], list(screen.options["aliases"])) == (home / "history", ["small"])
    assert screen.chat is not None
    assert (screen.chat.asked.temperature, screen.chat.asked.top_k, screen.chat.system) == (0.3, 3, "Be brief")


def test_plain_is_what_was_asked_for(fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chat(lmlab, monkeypatch, "--plain") == 0
    assert screen.options is None


def test_a_dumb_terminal_goes_line_by_line(
    fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert chat(lmlab, monkeypatch) == 0
    assert screen.options is None


@pytest.mark.parametrize("piped", ["stdin", "stdout", "stderr"])
def test_a_pipe_anywhere_goes_line_by_line(
    fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch, piped: str
) -> None:
    monkeypatch.setattr("lmlab.cli.chat.is_terminal", lambda stream: stream is not getattr(sys, piped))
    assert lmlab("chat", stdin=b"").code == 0
    assert screen.options is None
