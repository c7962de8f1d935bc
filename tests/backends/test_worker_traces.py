"""What workers leave behind, which is nothing but logs, and what of the parent's they must not touch."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from local_harness import Bench, alive, unix, wait_until

from lmlab.backends.process import KEPT_LOGS, LONGEST_SOCKET_PATH


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
