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


def test_a_template_reaches_the_chat(fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("-t", "summarize", "--technique", "few-shot", "--shots", "2", "--pick", "random:3")
    assert chat(lmlab, monkeypatch, *arguments, "--var", "audience=a child") == 7
    assert screen.chat is not None
    prompt = screen.chat.prompts.chosen()
    assert (prompt.name, prompt.renderer.technique, prompt.renderer.shots) == ("summarize", "few-shot", 2)
    assert (prompt.approach.pick, prompt.approach.pick_seed) == ("random", 3)
    assert (prompt.renderer.fixed, prompt.main) == ({"audience": "a child"}, "text")


def test_a_template_that_cannot_be_used_is_said_before_anything_opens(fake: Fake, lmlab: Lmlab, home: Path) -> None:
    outcome = lmlab("chat", "--plain", "-t", "summarise", stdin=b"hi\n")
    assert outcome.code == 2
    assert "no prompt template is called 'summarise': did you mean summarize" in outcome.err
    outcome = lmlab("chat", "--plain", "--technique", "cot", stdin=b"hi\n")
    assert "--technique is about a prompt template: name one with -t" in outcome.err
    outcome = lmlab("chat", "--plain", "-t", "summarize", "--shots", "2", "--technique", "cot", stdin=b"hi\n")
    assert "--shots is about examples, and cot shows none" in outcome.err
    assert not fake.backends
    assert not (home / "sessions.db").exists()


def test_lines_go_through_the_template_and_the_answer_is_told(fake: Fake, lmlab: Lmlab) -> None:
    fake.prepare = lambda backend: backend.script(["Three and four is seven. ", "The answer is 7."])
    outcome = lmlab("chat", "--plain", "-t", "word-problem", "--technique", "cot", stdin=b"What is 3 + 4?\n")
    assert (outcome.code, outcome.out) == (0, "Three and four is seven. The answer is 7.\n")
    assert "answer: 7\n" in outcome.err
    messages = fake.backend.requests[0].prompt.messages  # type: ignore[union-attr]
    assert messages[-1].content.endswith("Problem: What is 3 + 4?\n\nLet's think step by step.")


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


def test_the_keys_of_the_config_reach_the_screen(
    fake: Fake, lmlab: Lmlab, screen: Screen, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    home.mkdir()
    (home / "config.toml").write_text('[keys]\ntokens = "f5"\nquit = ["ctrl+q", "alt+q"]\n')
    assert chat(lmlab, monkeypatch) == 7
    assert screen.options is not None
    keys = screen.options["keys"]
    assert (keys.keys("tokens"), keys.keys("quit"), keys.keys("tree")) == (("f5",), ("ctrl+q", "alt+q"), ("f3",))


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('tokens = "ctrl+r"', "ctrl+r is the key of both regenerate and tokens: give one of them another"),
        ('tocens = "f5"', "no action is called 'tocens': did you mean tokens?"),
        ('tokens = "t"', "tokens cannot have the key t, it types a character"),
    ],
)
def test_keys_that_cannot_be_are_one_line_before_the_screen_starts(
    fake: Fake,
    lmlab: Lmlab,
    screen: Screen,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    written: str,
    problem: str,
) -> None:
    home.mkdir()
    (home / "config.toml").write_text(f"[keys]\n{written}\n")
    with Terminal() as keyboard, Terminal() as out, Terminal() as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert lmlab("chat", stdin=keyboard).code == 2
        shown = err.shown
    assert shown.startswith(f"lmlab: {home / 'config.toml'}: [keys] ")
    assert problem in shown
    assert shown.count("\n") == 1
    assert screen.options is None
