from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_harness import Desk

from lmlab.backends import Finished, Token
from lmlab.errors import StoreError
from lmlab.lab.chat import SaveFailed
from lmlab.store import Reply


class Disk:
    """Stands between a chat and the writing of replies; may be full."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.written: list[str] = []
        self._save: Callable[[int, str, Reply], None] = desk.store.save_reply
        monkeypatch.setattr(desk.store, "save_reply", self._save_reply)

    def _save_reply(self, turn: int, content: str, reply: Reply) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.written.append(content)
        self._save(turn, content, reply)


@pytest.fixture
def disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(desk, monkeypatch)


def test_a_reply_is_written_every_so_often_and_at_its_end(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    backend.script([f"{number} " for number in range(6)])
    desk.chat.send("Count")
    backend.step()
    for _ in range(6):
        desk.clock.now += 0.15
        backend.step()

    assert disk.written == ["0 1 2 ", "0 1 2 3 4 5 "]
    backend.finish()
    assert disk.written[2:] == ["0 1 2 3 4 5 "]


def test_an_event_is_told_before_it_is_written(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    backend.script(["one"])
    at_telling: list[tuple[str, int]] = []
    desk.on_event = lambda event: at_telling.append((type(event).__name__, len(disk.written)))
    desk.chat.send("Count")
    backend.step()
    desk.clock.now += 1
    backend.step()
    backend.step()

    assert at_telling[-2:] == [("Token", 0), ("Finished", 1)]
    assert disk.written == ["one", "one"]


def test_the_reply_has_ended_by_the_time_its_end_is_told(desk: Desk) -> None:
    backend = desk.open()
    seen: list[tuple[bool, str]] = []

    def look(event: object) -> None:
        if isinstance(event, Finished | Token):
            seen.append((desk.chat.replying, desk.chat.turns[-1].content))

    desk.on_event = look
    backend.script(["one", "two"])
    desk.chat.send("Count")
    backend.finish()

    assert seen == [(True, "one"), (True, "onetwo"), (False, "onetwo")]


def test_a_full_disk_is_said_once_while_it_grows_and_the_reply_goes_on(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    disk.full = True
    for _ in range(4):
        desk.clock.now += 1
        backend.step()
    assert [str(event.error) for event in desk.told(SaveFailed)] == ["the disk is full"]
    assert desk.chat.turns[-1].content == "A fake reply"

    disk.full = False
    desk.clock.now += 1
    backend.step()
    backend.finish()

    assert disk.written == ["A fake reply.", "A fake reply."]
    assert len(desk.told(SaveFailed)) == 1


def test_what_could_not_be_written_is_written_with_the_next_message(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    disk.full = True
    backend.finish()
    assert len(desk.told(SaveFailed)) == 1
    assert desk.chat.turns[-1].content == "A fake reply."
    assert desk.chat.session is not None

    with pytest.raises(StoreError, match="the disk is full"):
        desk.chat.send("Go on")
    assert [turn.content for turn in desk.chat.turns] == ["Go", "A fake reply."]

    disk.full = False
    desk.chat.send("Go on")

    assert [turn.content for turn in desk.store.path(desk.chat.session.id)] == ["Go", "A fake reply.", "Go on", ""]


def test_what_could_not_be_written_is_tried_again_at_the_end(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    disk.full = True
    backend.finish()
    desk.chat.clear()
    disk.full = False
    desk.chat.close()

    assert disk.written == ["A fake reply."]
    assert len(desk.told(SaveFailed)) == 1


def test_closing_ends_the_engine_also_when_the_disk_is_full(desk: Desk, disk: Disk) -> None:
    backend = desk.open()
    desk.chat.send("Go")
    backend.step(2)
    disk.full = True
    desk.chat.close()

    assert backend.closed
    assert [str(event.error) for event in desk.told(SaveFailed)] == ["the disk is full"] * 2


PROGRAM = """
import itertools, sys
from functools import partial
from pathlib import Path
from chat_harness import Desk
from lmlab.backends import Token

desk = Desk(Path(sys.argv[1]))
backend = desk.open()
backend.script([f"{number} " for number in range(100_000)])
clock = itertools.count(100.0)
desk.clock.now = 0.0
type(desk.clock).__call__ = lambda self: next(clock)
desk.on_event = lambda event: isinstance(event, Token) and print(event.index, flush=True)
desk.chat.send("Count")
backend.finish()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_in_the_middle_leaves_the_question_and_the_reply_so_far(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert program.stdout is not None
    seen = [int(program.stdout.readline()) for _ in range(12)]
    os.kill(program.pid, signal.SIGKILL)
    seen += [int(line) for line in program.stdout if line.endswith("\n")]
    program.wait()
    program.stdout.close()

    desk = Desk(tmp_path)
    session = desk.store.latest_session()
    assert session is not None
    desk.chat.resume(session)
    question, reply = desk.chat.turns
    desk.close()

    assert seen == list(range(len(seen)))
    assert question.content == "Count"
    # What was told is written next: at most the last token told is missing.
    assert reply.content in [
        "".join(f"{i} " for i in range(count)) for count in (len(seen) - 1, len(seen), len(seen) + 1)
    ]
    assert reply.reply is not None
    assert (reply.reply.status, reply.reply.model) == ("partial", "fake")


DRAWING = PROGRAM.replace(
    'backend.script([f"{number} " for number in range(100_000)])',
    """
desk.chat.set_best_of(2)
endless = [f"{number} " for number in range(100_000)]
backend.script_candidates([FakeCandidate(["short"]), FakeCandidate(endless)])
""",
).replace(
    "from lmlab.backends import Token",
    "from lmlab.backends import Token\nfrom lmlab.backends.fake import FakeCandidate",
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_while_candidates_are_drawn_leaves_each_as_far_as_it_came(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", DRAWING, str(tmp_path)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert program.stdout is not None
    for _ in range(12):
        assert program.stdout.readline()
    os.kill(program.pid, signal.SIGKILL)
    program.stdout.read()
    program.wait()
    program.stdout.close()

    desk = Desk(tmp_path)
    session = desk.store.latest_session()
    assert session is not None
    desk.chat.resume(session)
    question, shown = desk.chat.turns
    first, second = desk.chat.siblings(shown)
    desk.close()

    assert (question.content, shown.id, first.content) == ("Count", first.id, "short")
    assert second.content.startswith("0 1 2 3 4 5 6 7 ")
    assert [turn.reply.status for turn in (first, second) if turn.reply] == ["done", "partial"]


def test_the_turns_can_be_read_at_any_moment_of_a_reply(desk: Desk) -> None:
    backend = desk.open()
    backend.script(["x"] * 3000)
    desk.chat.send("Go")
    stepping = threading.Thread(target=backend.finish)
    stepping.start()
    lengths = []
    while desk.chat.replying:
        question, reply = desk.chat.turns
        lengths.append(len(reply.content))
        assert (question.content, set(reply.content) <= {"x"}) == ("Go", True)
    stepping.join()

    assert lengths == sorted(lengths)
    assert len(desk.chat.turns[-1].content) == 3000
