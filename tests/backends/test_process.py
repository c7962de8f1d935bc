"""The life of worker processes, with tiny models: started, ended, killed, crashed, and what is left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_harness import GREEDY, Bench, Reply, alive, wait_until
from tiny_models import CHATML, write_llama

from lmlab.backends import Applied, ChatPrompt, Event, Finished, Loading, Message, Ready, Status, Stopped, Token, Usage
from lmlab.backends.local import LocalHandle
from lmlab.backends.process import KEPT_LOGS, LONGEST_SOCKET_PATH
from lmlab.errors import EngineStopped, LmlabError, ModelLoadError, UsageError
from lmlab.sampling import SamplingParams

unix = pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals and sockets")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", chat_template=CHATML)


@pytest.fixture
def open_model(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Open benches that are closed in the end."""
    benches: list[Bench] = []

    def open_it(path: Path | str, context: int = 1024, logs: Path | None = None) -> Bench:
        benches.append(Bench(path, logs or tmp_path / "logs", context))
        return benches[-1]

    yield open_it
    for bench in benches:
        bench.backend.close()


@pytest.fixture
def bench(open_model: Callable[..., Bench], tiny: Path) -> Bench:
    return open_model(tiny)


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


# What is left behind, and what must not be touched


@unix
def test_logs_are_private_and_only_the_latest_are_kept(bench: Bench) -> None:
    bench.logs.mkdir()
    old = [bench.logs / f"worker-{number:08x}.log" for number in range(KEPT_LOGS + 5)]
    for age, log in enumerate(old):
        log.write_text("old")
        os.utime(log, (1_000_000 - age, 1_000_000 - age))
    (bench.logs / "lmlab.log").write_text("not a worker's")
    bench.backend.wait_ready()
    logs = set(bench.logs.glob("worker-*.log"))
    assert len(logs) == KEPT_LOGS
    assert set(old[: KEPT_LOGS - 1]) < logs
    (new,) = logs - set(old)
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert (bench.logs / "lmlab.log").exists()
    assert new.stat().st_size > 0


def test_the_folder_of_the_socket_is_gone_once_connected(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="t"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    bench.backend.wait_ready()
    assert list(folder.iterdir()) == []
    folder.rmdir()


@unix
def test_a_temporary_folder_too_long_for_a_socket(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * LONGEST_SOCKET_PATH)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert bench.ask("hello", max_tokens=1).finished().reason == "length"
    assert list(long.iterdir()) == []


@unix
def test_signals_to_the_parents_group_do_not_reach_the_worker(bench: Bench) -> None:
    bench.backend.wait_ready()
    assert os.getpgid(bench.pid) != os.getpgid(0)
    assert os.getsid(bench.pid) != os.getsid(0)


def test_a_folder_called_lmlab_where_one_happens_to_be_is_not_the_program(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lmlab", "llama_cpp", "numpy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported from where one happens to be')")
    monkeypatch.chdir(tmp_path)
    assert bench.backend.wait_ready()


PARENT = """
import sys, threading
from pathlib import Path
from lmlab.backends import Failed, Finished, LoadSpec, Request, TextPrompt
from lmlab.backends.local import LocalBackend
from lmlab.sampling import SamplingParams

backend = LocalBackend(LoadSpec(sys.argv[1], context=512, threads=1), lambda _: None, log_folder=Path(sys.argv[2]))
backend.wait_ready()
"""


def run_parent(script: str, tiny: Path, logs: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PARENT + textwrap.dedent(script), str(tiny), str(logs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@unix
@pytest.mark.parametrize("doing", ["idle", "generating"])
def test_no_worker_outlives_a_parent_that_was_killed(tiny: Path, tmp_path: Path, doing: str) -> None:
    script = """
    if sys.argv[2].endswith("generating"):
        begun = threading.Event()
        backend.generate(Request("a", TextPrompt("hello")), lambda event: begun.set())
        begun.wait()
    print(backend.worker_pid, flush=True)
    sys.stdin.read()
    """
    with run_parent(script, tiny, tmp_path / doing) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
        parent.wait()
        wait_until(lambda: not alive(worker))


def test_the_parents_streams_are_its_own(tiny: Path, tmp_path: Path) -> None:
    script = """
    done = threading.Event()
    request = Request("a", TextPrompt("hello"), SamplingParams(max_tokens=2))
    backend.generate(request, lambda event: done.set() if isinstance(event, Finished | Failed) else None)
    assert done.wait(60)
    backend.close()
    sys.stdout.write(sys.stdin.read())
    """
    with run_parent(script, tiny, tmp_path / "logs") as parent:
        out, err = parent.communicate("all of this\n", timeout=120)
    assert (out, err, parent.returncode) == ("all of this\n", "", 0)


def test_a_parent_that_just_ends_takes_the_worker_along(tiny: Path, tmp_path: Path) -> None:
    with run_parent("print(backend.worker_pid)", tiny, tmp_path / "logs") as parent:
        out, err = parent.communicate(timeout=120)
    assert (err, parent.returncode) == ("", 0)
    wait_until(lambda: not alive(int(out)))


def test_greedy_replies_of_two_workers_are_the_same(open_model: Callable[..., Bench], tiny: Path) -> None:
    replies = [open_model(tiny).ask("hello world", GREEDY, max_tokens=12) for _ in range(2)]
    assert replies[0].finished().tokens == replies[1].finished().tokens
