"""The parts of the screen that need none: numbers as words, history, editor, inbox, pace, keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from screen_harness import Clock

from lmlab.errors import UsageError
from lmlab.tui import format as words
from lmlab.tui.editor import edit, editor_command
from lmlab.tui.history import History
from lmlab.tui.inbox import Inbox
from lmlab.tui.keys import Hint, Situation, keymap
from lmlab.tui.keys import hints as hints_for
from lmlab.tui.pace import Pace
from lmlab.tui.status import short_name
from lmlab.tui.themes import DARK, LIGHT, theme_name


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(-1, "▕░░░░▏"), (0, "▕░░░░▏"), (0.5, "▕██░░▏"), (0.6, "▕██▍░▏"), (1, "▕████▏"), (7, "▕████▏")],
)
def test_a_bar_is_always_as_wide(fraction: float, shown: str) -> None:
    assert words.bar(fraction, 4) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.4, "1 s left"), (59.4, "59 s left"), (61, "1 min 01 s left"), (7261, "2 h 01 min left")]
)
def test_time_left(value: float, shown: str) -> None:
    assert words.time_left(value) == shown


def test_a_line_breaks_between_facts_and_never_inside_one() -> None:
    line = "reading · 300 tok/s · 3 min 41 s left"
    assert words.break_between_facts(line, 37) == line
    assert words.break_between_facts(line, 36) == "reading · 300 tok/s\n3 min 41 s left"
    assert words.break_between_facts(line, 5) == "reading\n300 tok/s\n3 min 41 s left"


def test_seconds_and_rates() -> None:
    assert [words.seconds(value) for value in (0.094, 12.34, 123.4)] == ["0.09 s", "12.3 s", "123 s"]
    assert [words.rate(value) for value in (7.26, 118.2, 2048)] == ["7.3", "118", "2,048"]


@pytest.mark.parametrize(
    ("ref", "name"),
    [("smollm2", "smollm2"), ("hf:owner/repo:Q4_K_M", "repo:Q4_K_M"), (str(Path("/m/a b.gguf").absolute()), "a b")],
)
def test_a_model_has_a_short_name(ref: str, name: str) -> None:
    assert short_name(ref) == name


def test_history_outlives_the_program_and_skips_broken_lines(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "history"
    first = History(path)
    first.add("one")
    first.add("two\nlines")
    first.add("two\nlines")
    with path.open("a", encoding="utf-8") as file:
        file.write('"cut of\n{}\n')
    second = History(path)
    assert second.older("draft") == "two\nlines"
    assert second.older("two\nlines") == "one"
    assert second.older("one") is None
    assert second.newer() == "two\nlines"
    assert second.newer() == "draft"
    assert second.newer() is None


def test_a_changed_text_of_the_history_is_a_draft(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.add("one")
    assert history.older("") == "one"
    history.leave()
    assert history.older("one!") == "one"
    assert history.newer() == "one!"


def test_the_editor_is_the_persons_own() -> None:
    found = {"ed", "vim"}

    def which(name: str) -> str | None:
        return f"/bin/{name}" if name in found else None

    assert editor_command({"VISUAL": "ed -s", "EDITOR": "vim"}, which) == ["ed", "-s"]
    assert editor_command({"EDITOR": "vim"}, which) == ["vim"]
    assert editor_command({}, which) == ["/bin/vim"]
    with pytest.raises(UsageError, match=r"\$EDITOR is 'emacs'"):
        editor_command({"EDITOR": "emacs"}, which)
    with pytest.raises(UsageError, match=r"set \$EDITOR"):
        editor_command({}, lambda name: None)


def test_a_command_that_is_none_is_said() -> None:
    with pytest.raises(UsageError, match=r"""\$EDITOR is "vi '", no command \(No closing quotation\)"""):
        editor_command({"EDITOR": "vi '"})


def test_a_text_that_cannot_be_written_for_the_editor_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"cannot write the text to a file for the editor: .*; it is still here"):
        edit("hi", ["never"])


def test_a_text_comes_back_as_the_editor_left_it(tmp_path: Path) -> None:
    script = tmp_path / "editor.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\np = Path(sys.argv[1])\np.write_text(p.read_text() + '!\\n')\n"
    )
    assert edit("hi", [sys.executable, str(script)]) == "hi!"


def test_a_failing_editor_leaves_the_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="status 3: the text was left"):
        edit("hi", [sys.executable, "-c", "raise SystemExit(3)"])


def test_many_events_are_one_wake_up_and_none_is_lost() -> None:
    inbox: Inbox[int] = Inbox()
    wakes: list[None] = []
    inbox.put(0)
    inbox.connect(lambda: wakes.append(None))
    assert len(wakes) == 1
    inbox.put(1)
    inbox.put(2)
    assert len(wakes) == 1
    assert inbox.drain() == [0, 1, 2]
    inbox.put(3)
    assert len(wakes) == 2
    assert inbox.drain() == [3]
    assert inbox.empty


def test_a_slow_update_gives_the_keys_three_times_as_long() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.wait() <= 0
    with pace.update():
        clock.now += 0.1
    assert pace.wait() == pytest.approx(0.3)


def test_drawing_is_part_of_an_update_and_waiting_is_not() -> None:
    clock, work = Clock(), Clock()
    pace = Pace(clock, work)
    with pace.update():
        clock.now += 0.01
        work.now += 0.01
    assert pace.wait() == pytest.approx(0.05)
    clock.now += 0.04
    work.now += 0.03
    pace.drawn()
    assert pace.wait() == pytest.approx(0.12)


def test_numbers_of_a_stream_change_a_few_times_a_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert not pace.numbers_due(streaming=True)
    assert pace.numbers_due(streaming=False)
    clock.now += 0.3
    assert pace.numbers_due(streaming=True)
    assert not pace.numbers_due(streaming=True)


def test_the_hints_are_what_works_now() -> None:
    def hints(now: Situation) -> list[Hint]:
        return hints_for(now, keymap())

    def keys(now: Situation) -> list[str]:
        return [hint.key for hint in hints(now)]

    assert "esc" not in keys(Situation())
    assert keys(Situation(replying=True))[0] == "esc"
    assert "enter" not in keys(Situation(replying=True))
    assert "end" in keys(Situation(following=False))
    assert keys(Situation(in_panel=True, typing_value=True)) == ["enter", "esc"]
    assert keys(Situation(selected=True))[0] == "ctrl+c"
    assert Hint("esc", "stop") in hints(Situation(in_panel=True, replying=True))
    assert hints(Situation(in_panel=True, replying=True))[-1] == Hint("tab", "back")
    assert hints(Situation(in_panel=True))[-1] == Hint("tab/esc", "back")
    assert [hint.text for hint in hints(Situation(completing=True, replying=True)) if hint.key == "esc"] == ["close"]
    assert "ctrl+d" not in keys(Situation(has_text=True))


def test_themes_have_short_names() -> None:
    available = {DARK.name: DARK, LIGHT.name: LIGHT}
    assert theme_name(None, available) == DARK.name
    assert theme_name("light", available) == LIGHT.name
    with pytest.raises(UsageError, match="no theme is called 'x'"):
        theme_name("x", available)


@pytest.mark.parametrize(("asked", "pictures"), [(None, 120), ("30", 30)])
def test_keys_wait_half_as_long_for_a_picture_as_textual_has_it(asked: str | None, pictures: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TEXTUAL_FPS"}
    if asked is not None:
        environment["TEXTUAL_FPS"] = asked
    code = "import lmlab.tui.app, textual.constants as constants; print(constants.MAX_FPS)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(said.stdout) == pictures
