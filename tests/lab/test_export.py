from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest
from chat_harness import Desk

from lmlab.backends.fake import FakeCandidate
from lmlab.errors import StoreError, UsageError


def test_a_transcript_has_what_was_said_and_what_it_was_made_with(desk: Desk, tmp_path: Path) -> None:
    backend = desk.open()
    desk.chat.set_system("Be brief.")
    (tmp_path / "notes.txt").write_text("one two")
    desk.chat.attach(str(tmp_path / "notes.txt"))
    desk.chat.send("Count")
    backend.step(2)
    desk.chat.set_sampling("temperature", 1.3)
    backend.finish()
    desk.chat.send("Go on")
    backend.step(2)
    desk.chat.stop()

    where = desk.chat.save(str(tmp_path / "chat.md"))

    assert desk.chat.session is not None
    assert where == tmp_path / "chat.md"
    assert where.read_text(encoding="utf-8") == (
        "# Count\n\n## System\n\nBe brief.\n\n"
        "## You\n\nAttached: notes.txt (7 characters)\n\nCount\n\n"
        "## fake\n\nA fake reply.\n\n*temperature 1.3 · seed 1234 · temperature 0.6 → 1.3 at token 1*\n\n"
        "## You\n\nGo on\n\n"
        "## fake\n\nA\n\n*ended: cancelled · temperature 1.3 · seed 1234*\n\n"
        f"<!-- lmlab {desk.chat.session.id} 27: 3+1s 7+3u 13+1a 19+1u 23+1a -->\n"
    )


def test_candidates_say_which_was_chosen_and_json_has_them_all(desk: Desk, tmp_path: Path) -> None:
    backend = desk.open()
    desk.chat.set_best_of(2)
    backend.script_candidates(
        [FakeCandidate(text, logprob=logprob) for text, logprob in (("It is 41", -2.0), ("It is 42", -0.5))]
    )
    desk.chat.send("How many?")
    backend.finish()

    transcript = desk.chat.save(str(tmp_path / "chat.md")).read_text(encoding="utf-8")
    values = json.loads(desk.chat.save(str(tmp_path / "chat.json")).read_text(encoding="utf-8"))

    why = "the highest mean log-probability of 2: -0.500"
    assert f"It is 42\n\n*candidate 2 of 2, by logprob: {why} · temperature" in transcript
    assert "41" not in transcript
    assert [turn["reply"]["candidate"] for turn in values["turns"][1:]] == [
        {"index": 0, "of": 2, "logprob": -2.0, "score": -2.0, "note": "", "chosen": False, "selector": None, "why": ""},
        {
            "index": 1,
            "of": 2,
            "logprob": -0.5,
            "score": -0.5,
            "note": "",
            "chosen": True,
            "selector": "logprob",
            "why": why,
        },
    ]


def test_json_has_every_branch_and_every_record(auto: Desk, tmp_path: Path) -> None:
    backend = auto.open()
    backend.script(["one"])
    auto.chat.send("Say é")
    backend.script(["two"])
    auto.chat.regenerate()
    assert auto.chat.session is not None

    values = json.loads(auto.chat.save(str(tmp_path / "chat.json")).read_text(encoding="utf-8"))

    assert values["session"]["id"] == auto.chat.session.id
    assert values["session"]["title"] == "Say é"
    assert [(turn["role"], turn["parent"], turn["content"]) for turn in values["turns"]] == [
        ("user", None, "Say é"),
        ("assistant", 1, "one"),
        ("assistant", 1, "two"),
    ]
    reply = values["turns"][1]["reply"]
    assert (reply["fingerprint"], reply["sampling"]["seed"], reply["tokens"]) == ("print-fake", 1234, [100])
    assert "reply" not in values["turns"][0]


def test_json_says_which_branch_is_selected_and_which_was_on_each(auto: Desk, tmp_path: Path) -> None:
    auto.open()
    auto.chat.send("Hi")
    auto.chat.regenerate()
    first, second = auto.chat.siblings(auto.chat.turns[1])
    auto.chat.send("And?")
    auto.chat.select(first)

    values = json.loads(auto.chat.save(str(tmp_path / "chat.json")).read_text(encoding="utf-8"))

    assert values["lmlab_session"] == 2
    assert values["session"]["leaf"] == first.id
    question, *_, asked, answered = values["turns"]
    assert (question["chosen"], asked["parent"], asked["chosen"]) == (first.id, second.id, answered["id"])
    assert "chosen" not in answered


def test_a_crashed_and_a_cut_off_reply_say_so(desk: Desk, tmp_path: Path) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(2)
    text = desk.chat.save(str(tmp_path / "now.md")).read_text(encoding="utf-8")
    assert "*cut off · temperature 0.6" in text

    backend.crash()
    text = desk.chat.save(str(tmp_path / "later.md")).read_text(encoding="utf-8")
    assert "*ended: error · the engine stopped: killed by signal 9 · temperature 0.6" in text


def test_nothing_is_overwritten_unasked(auto: Desk, tmp_path: Path) -> None:
    auto.open()
    auto.chat.send("Hi")
    (tmp_path / "chat.md").write_text("precious")
    with pytest.raises(UsageError, match=r"chat\.md exists: choose another name"):
        auto.chat.save(str(tmp_path / "chat.md"))
    assert (tmp_path / "chat.md").read_text() == "precious"

    auto.chat.save(str(tmp_path / "chat.md"), overwrite=True)

    assert (tmp_path / "chat.md").read_text(encoding="utf-8").startswith("# Hi\n")


def test_where_it_cannot_be_written_is_told(auto: Desk, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to save yet"):
        auto.chat.save(str(tmp_path / "chat.md"))
    auto.open()
    auto.chat.send("Hi")
    for name, problem in (
        ("chat", r"end the name in \.md"),
        ("chat.txt", r"end the name in \.md"),
        ("no/chat.md", "there is no folder"),
    ):
        with pytest.raises(UsageError, match=problem):
            auto.chat.save(str(tmp_path / name))
    (tmp_path / "folder.md").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*folder\.md"):
        auto.chat.save(str(tmp_path / "folder.md"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_and_leaves_what_was_there(
    auto: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto.open()
    auto.chat.send("Hi")
    (tmp_path / "chat.md").write_text("precious")

    def always_full(descriptor: int, *args: Any, **options: Any) -> TextIO:
        os.close(descriptor)
        return Path("/dev/full").open("w")

    monkeypatch.setattr(os, "fdopen", always_full)
    with pytest.raises(StoreError, match=r"cannot write .*chat\.md: No space left on device; choose another place"):
        auto.chat.save(str(tmp_path / "chat.md"), overwrite=True)
    assert (tmp_path / "chat.md").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_what_is_saved_is_private(auto: Desk, tmp_path: Path) -> None:
    auto.open()
    auto.chat.send("Hi")
    os.umask(os.umask(0o022))
    where = auto.chat.save(str(tmp_path / "chat.md"))
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
