"""The life of worker processes, with tiny models: started, killed, crashed, closed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_harness import GREEDY, Bench, Reply, alive, unix, wait_until
from tiny_models import write_llama

from lmlab.backends import Applied, ChatPrompt, Event, Finished, Loading, Message, Ready, Status, Stopped, Token, Usage
from lmlab.backends.local import LocalHandle
from lmlab.errors import EngineStopped, LmlabError, ModelLoadError, UsageError
from lmlab.sampling import SamplingParams


def one_line(error: LmlabError) -> str:
    assert "\n" not in str(error)
    return str(error)


def kill_while_loading(bench: Bench, times: int) -> None:
    """Kill the next ``times`` workers as soon as there is word of their loading."""
    killed: set[int] = set()

    def act(status: Status) -> None:
        if isinstance(status, Loading) and bench.pid not in killed and len(killed) < times:
            killed.add(bench.pid)
            os.kill(bench.pid, signal.SIGKILL)

    bench.on_status = act


# Replies


def test_a_reply_that_reaches_the_context_says_so(open_model: Callable[..., Bench], tiny: Path) -> None:
    bench = open_model(tiny, context=256)
    finished = bench.ask("hello", SamplingParams(temperature=1.0, seed=3)).finished()
    assert finished.reason == "context"
    assert finished.usage.prompt_tokens + finished.usage.completion_tokens == 256


def test_an_update_and_a_cancel_before_the_model_is_loaded(bench: Bench) -> None:
    updated = bench.ask("hello", max_tokens=3)
    updated.handle.update(SamplingParams(temperature=0.5, max_tokens=2))
    cancelled = bench.ask("hello")
    cancelled.handle.cancel()
    assert cancelled.finished().reason == "cancelled"
    assert cancelled.tokens == []
    assert updated.finished().usage.completion_tokens == 2
    applied = next(event for event in updated.events if isinstance(event, Applied))
    assert (applied.at_token, applied.changes) == (0, (("temperature", 0.0, 0.5), ("max_tokens", 3, 2)))


SLOW_TEMPLATE = "{% for a in range(1500) %}{% for b in range(500) %}{% endfor %}{% endfor %}hello"
"""Takes a good part of a second, so that what is said of the request comes while it is still being encoded."""


def test_an_update_while_the_prompt_is_encoded(bench: Bench) -> None:
    bench.backend.wait_ready()
    reply = bench.ask(ChatPrompt((Message("user", "hello"),), SLOW_TEMPLATE), max_tokens=3)
    for temperature in (0.5, 0.9):
        reply.handle.update(SamplingParams(temperature=temperature, max_tokens=3))
    reply.finished()
    applied = [event for event in reply.events if isinstance(event, Applied)]
    assert [(event.at_token, event.changes) for event in applied] == [(0, (("temperature", 0.0, 0.9),))]


def test_a_cancel_while_the_prompt_is_encoded(bench: Bench) -> None:
    bench.backend.wait_ready()
    reply = bench.ask(ChatPrompt((Message("user", "hello"),), SLOW_TEMPLATE))
    reply.handle.cancel()
    behind = bench.ask("hello", max_tokens=1)
    assert behind.finished().reason == "length"
    assert [type(event) for event in reply.events] == [Finished]
    assert (reply.finished().reason, reply.finished().usage) == ("cancelled", Usage(0, 0, 0))


# Killed


@unix
def test_a_worker_killed_in_mid_reply(bench: Bench) -> None:
    def kill(_handle: LocalHandle, event: Event) -> None:
        if isinstance(event, Token) and event.index == 3:
            os.kill(bench.pid, signal.SIGKILL)

    reply = bench.ask("hello", on_event=kill)
    error = reply.error()
    assert isinstance(error, EngineStopped)
    assert "SIGKILL" in one_line(error)
    assert "log: " in str(error)
    assert len(reply.tokens) >= 4
    assert bench.stops == [error]
    assert bench.ask("hello", max_tokens=2).finished().reason == "length"
    assert bench.workers == 2


@unix
def test_a_request_sent_just_after_the_kill_is_answered_by_the_next_worker(bench: Bench) -> None:
    bench.backend.wait_ready()
    first = bench.pid
    os.kill(first, signal.SIGKILL)
    assert bench.ask("hello", max_tokens=2).finished().reason == "length"
    assert bench.pid != first
    assert bench.workers == 2


@unix
def test_a_killed_worker_is_ready_again_when_asked(bench: Bench) -> None:
    bench.backend.wait_ready()
    os.kill(bench.pid, signal.SIGKILL)
    wait_until(lambda: bool(bench.stops))
    assert bench.backend.wait_ready().vocabulary > 256
    assert [type(status) for status in bench.statuses if not isinstance(status, Loading)] == [Ready, Stopped, Ready]


@unix
def test_a_worker_that_dies_while_loading(bench: Bench) -> None:
    kill_while_loading(bench, 1)
    with pytest.raises(EngineStopped, match="SIGKILL"):
        bench.backend.wait_ready()
    assert bench.backend.wait_ready()


@unix
def test_what_waited_for_a_worker_that_died_waits_for_the_next_one(bench: Bench) -> None:
    kill_while_loading(bench, 1)
    reply = bench.ask("hello", max_tokens=3)
    reply.handle.update(SamplingParams(temperature=0.5, max_tokens=2))
    cancelled = bench.ask("hello")
    cancelled.handle.cancel()
    assert bench.backend.wait_ready()
    assert reply.finished().usage.completion_tokens == 2
    assert any(isinstance(event, Applied) for event in reply.events)
    assert cancelled.finished().reason == "cancelled"
    assert len(bench.stops) == 1


@unix
def test_a_request_that_two_workers_died_of_fails(bench: Bench) -> None:
    kill_while_loading(bench, 2)
    reply = bench.ask("hello")
    assert "SIGKILL" in one_line(reply.error())
    assert bench.workers == 2


@unix
def test_a_request_does_not_fail_for_one_that_two_workers_died_of(bench: Bench) -> None:
    kill_while_loading(bench, 2)
    kill = bench.on_status
    late: list[Reply] = []

    def ask_of_the_second_worker(status: Status) -> None:
        if isinstance(status, Loading) and bench.stops and not late:
            late.append(bench.ask("hello", max_tokens=1))
        kill(status)

    bench.on_status = ask_of_the_second_worker
    suspect = bench.ask("hello", max_tokens=1)
    assert isinstance(suspect.error(), EngineStopped)
    assert late[0].finished().reason == "length"
    assert bench.workers == 3


@unix
def test_a_crash_is_explained_without_its_log(bench: Bench) -> None:
    bench.backend.wait_ready()
    for log in bench.logs.iterdir():
        log.unlink()
    os.kill(bench.pid, signal.SIGSEGV)
    wait_until(lambda: bool(bench.stops))
    assert "SIGSEGV" in one_line(bench.stops[0])
    assert bench.ask("hello", max_tokens=1).finished().reason == "length"


# Not loadable


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "folder", "garbage"])
def test_a_model_that_cannot_be_loaded(open_model: Callable[..., Bench], tiny: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.gguf"
    whole = tiny.read_bytes()
    match kind:
        case "text":
            path.write_text("This is no model.\n" * 100)
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "garbage":
            path.write_bytes(whole[:8] + b"\xff" * (len(whole) - 8))
        case "folder":
            path.mkdir()
    bench = open_model(path)
    reply = bench.ask("hello")
    with pytest.raises(ModelLoadError) as caught:
        bench.backend.wait_ready()
    assert str(path) in one_line(caught.value)
    assert isinstance(reply.error(), ModelLoadError)
    assert bench.workers == 1
    assert bench.backend.worker_pid is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_model_whose_name_is_no_text(open_model: Callable[..., Bench], tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"mod\xe9le.gguf")
    path.write_bytes(tiny.read_bytes())
    assert open_model(path).backend.wait_ready().path == str(path)


def test_an_abort_inside_llama_cpp_is_explained_with_its_text(open_model: Callable[..., Bench], tmp_path: Path) -> None:
    tokens = ["same"] * 269
    path = write_llama(tmp_path / "twice.gguf", values={"tokenizer.ggml.tokens": tokens})
    bench = open_model(path)
    with pytest.raises(EngineStopped, match=r"llama\.cpp gave up: .*GGML_ASSERT") as caught:
        bench.backend.wait_ready()
    one_line(caught.value)


def test_a_log_folder_that_cannot_be_made_is_an_error_and_not_a_wait(
    open_model: Callable[..., Bench], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    bench = open_model(tiny, logs=tmp_path / "file" / "logs")
    reply = bench.ask("hello")
    assert isinstance(reply.error(), UsageError)
    with pytest.raises(UsageError, match="cannot make the folder"):
        bench.backend.wait_ready()


def test_no_temporary_folder_is_an_error_and_not_a_wait(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    with pytest.raises(EngineStopped, match="could not be started: no temporary folder"):
        bench.backend.wait_ready()


def test_an_interpreter_that_cannot_be_run_is_an_error_and_not_a_wait(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    reply = bench.ask("hello")
    with pytest.raises(EngineStopped, match="could not be started"):
        bench.backend.wait_ready()
    assert isinstance(reply.error(), EngineStopped)


# Closed


@pytest.mark.parametrize("when", ["at once", "loading", "generating"])
def test_closing_ends_the_worker_and_what_it_did(bench: Bench, when: str) -> None:
    reached = threading.Event()
    bench.on_status = lambda status: reached.set() if isinstance(status, Loading) and when == "loading" else None
    reply = bench.ask(
        "hello", on_event=lambda _, event: reached.set() if isinstance(event, Token) and when == "generating" else None
    )
    if when != "at once":
        assert reached.wait(60)
    pid = bench.backend.worker_pid
    bench.backend.close()
    error = reply.error()
    assert isinstance(error, EngineStopped)
    assert "closed" in one_line(error)
    assert pid is None or not alive(pid)
    assert bench.backend.worker_pid is None
    bench.backend.close()
    for use in (bench.backend.start, bench.backend.wait_ready, lambda: bench.ask("hello")):
        with pytest.raises(UsageError, match="closed"):
            use()


def test_closing_a_model_that_was_never_started(bench: Bench) -> None:
    bench.backend.close()
    assert bench.statuses == []


def test_closing_releases_those_who_wait_for_the_model(bench: Bench) -> None:
    loading, release = threading.Event(), threading.Event()

    def hold(status: Status) -> None:
        if isinstance(status, Loading):
            loading.set()
            release.wait(60)

    bench.on_status = hold
    bench.backend.start()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(bench.backend.wait_ready)
        assert loading.wait(60)
        closing = pool.submit(bench.backend.close)
        wait_until(lambda: bench.backend.worker_pid is None or not alive(bench.pid))
        release.set()
        closing.result(60)
        with pytest.raises((EngineStopped, UsageError), match="closed"):
            waiting.result(60)


def test_greedy_replies_of_two_workers_are_the_same(open_model: Callable[..., Bench], tiny: Path) -> None:
    replies = [open_model(tiny).ask("hello world", GREEDY, max_tokens=12) for _ in range(2)]
    assert replies[0].finished().tokens == replies[1].finished().tokens
