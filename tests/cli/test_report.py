from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lmlab.cli import report
from lmlab.cli.interrupt import first_interrupt
from lmlab.cli.streams import OutputClosed
from lmlab.errors import ContextOverflow, LmlabError, ModelNotFound, SamplingError


def failing(error: BaseException) -> int:
    def action() -> int:
        raise error

    return report.supervise(action)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LmlabError("no"), 1),
        (ModelNotFound("no"), 1),
        (ContextOverflow(9000, 8192), 1),
        (SamplingError("no"), 2),
        (KeyboardInterrupt(), 130),
        (OutputClosed(), 141),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert failing(error) == code


def test_what_an_action_returns_is_the_exit_code() -> None:
    assert report.supervise(lambda: 3) == 3


def test_an_error_is_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    failing(LmlabError("no file \x1b[31m\nhere"))
    assert capsys.readouterr() == ("", "lmlab: no file ␛[31m here\n")


def test_an_interrupt_and_a_closed_pipe_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    failing(KeyboardInterrupt())
    failing(OutputClosed())
    assert capsys.readouterr() == ("", "")


def test_a_full_disk_that_nobody_foresaw_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(OSError(errno.ENOSPC, "No space left on device", "some/file")) == 1
    assert (
        capsys.readouterr().err == "lmlab: cannot write some/file: No space left on device; make room and try again\n"
    )


def test_what_is_not_lmlabs_own_passes_through() -> None:
    with pytest.raises(FileNotFoundError):
        failing(FileNotFoundError(2, "gone"))
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_notices_are_said_once_and_never_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    loud, quiet = report.Notices(quiet=False), report.Notices(quiet=True)
    for text in ("one", "two", "one"):
        loud.say(text)
        quiet.say(text)
    assert capsys.readouterr().err == "lmlab: one\nlmlab: two\n"


CRASH = "from lmlab.cli import report; report.install_hooks()\ndef deep(): raise ValueError('a\\nb')\n"


def crash(home: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LMLAB_HOME": str(home)}
    return subprocess.run([sys.executable, "-c", CRASH + code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("deep()", 1),
        ("import threading; thread = threading.Thread(target=deep); thread.start(); thread.join()", 0),
    ],
    ids=["main thread", "another thread"],
)
def test_an_unexpected_exception_goes_to_the_log(tmp_path: Path, code: str, exit_code: int) -> None:
    run = crash(tmp_path / "home", code)
    log = tmp_path / "home" / "logs" / "lmlab.log"
    assert run.returncode == exit_code
    assert run.stdout == ""
    assert run.stderr == (f"lmlab: unexpected ValueError: a b; this is a defect of lmlab, its traceback is in {log}\n")
    assert "in deep" in log.read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_the_log_is_private(tmp_path: Path) -> None:
    crash(tmp_path / "home", "deep()")
    log = tmp_path / "home" / "logs" / "lmlab.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    run = crash(tmp_path / "home", "deep()")
    assert run.returncode == 1
    assert run.stderr.startswith("lmlab: unexpected ValueError: a b (and its traceback could not be written: ")
    assert run.stderr.count("\n") == 1


def test_the_first_interrupt_stops_and_the_second_ends() -> None:
    stopped: list[int] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with first_interrupt(lambda: stopped.append(1)):
            signal.raise_signal(signal.SIGINT)
            assert stopped == [1]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert stopped == [1]


def test_interrupts_that_are_ignored_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with first_interrupt(lambda: pytest.fail("it was to be ignored")):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
