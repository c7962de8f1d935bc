"""``lmlab compare`` as a program on a terminal of its own, with workers of its own: votes, deaths, leaving."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from terminal_harness import Terminal
from tiny_models import write_llama

Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a comparison of two models that takes up one prompt, and wait until both have answered."""
    started: list[Terminal] = []

    def compare(*options: str) -> Terminal:
        models = [write_llama(tmp_path / f"{name}.gguf", seed=seed) for seed, name in enumerate(("calm", "hot"))]
        fixed = ["-p", "Well?", "-n", "4", "--threads", "1", "-c", "256", "-o", str(tmp_path / "record.jsonl")]
        started.append(Terminal(tmp_path, ["compare", *map(str, models), *fixed, *options], {}))
        started[-1].wait_for("left wins")
        return started[-1]

    yield compare
    for one in started:
        one.close()


def lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "record.jsonl").read_text("utf-8").splitlines()]
    return [line for line in found if line["kind"] == kind]


def workers(terminal: Terminal) -> list[psutil.Process]:
    return psutil.Process(terminal.process.pid).children()


def test_a_vote_shows_the_names_and_is_on_disk_when_the_program_is_killed(start: Start, tmp_path: Path) -> None:
    terminal = start("--blind")
    assert b"answer A" in terminal.written
    terminal.type(b"l")
    terminal.wait_for("vote again")
    terminal.wait_for("interval")
    terminal.process.send_signal(signal.SIGKILL)
    terminal.wait_for_exit()
    (vote,) = lines(tmp_path, "vote")
    assert (vote["choice"], vote["blind"], vote["winner"]) == ("win", True, vote["order"][0])
    assert len(lines(tmp_path, "answer")) == 2


def test_a_worker_that_is_killed_leaves_the_screen_and_the_other_alone(start: Start, tmp_path: Path) -> None:
    terminal = start()
    victim, other = workers(terminal)
    victim.kill()
    terminal.wait_for("the engine stopped")
    terminal.type(b"\t")
    terminal.wait_for("ask")
    terminal.type(b"Again?")
    terminal.wait_for("?")
    terminal.type(b"\r")
    terminal.wait_until(lambda: len(lines(tmp_path, "answer")) == 4)
    assert [line.get("error") for line in lines(tmp_path, "answer")] == [None] * 4
    assert other.pid in [worker.pid for worker in workers(terminal)]


def test_leaving_gives_the_terminal_back_and_says_where_the_votes_are(start: Start, tmp_path: Path) -> None:
    terminal = start()
    ended = workers(terminal)
    terminal.type(b"t")
    terminal.wait_for("vote again")
    terminal.type(b"\x11")
    assert terminal.wait_for_exit() == 0
    assert terminal.is_as_it_was()
    assert b"nothing decided: 1 tied" in terminal.written
    assert b"answers and votes are kept in" in terminal.written
    assert not any(worker.is_running() for worker in ended)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_comparison_and_gives_the_terminal_back(start: Start, number: signal.Signals) -> None:
    terminal = start()
    terminal.process.send_signal(number)
    assert terminal.wait_for_exit() == 128 + number
    assert terminal.is_as_it_was()
    assert b"Traceback" not in terminal.written
