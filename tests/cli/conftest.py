"""Runs the command line, in this process with a FakeBackend or as a program of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_models import fake_header
from harness import Fake, Lmlab, Outcome, Program, Terminal

import lmlab.__main__ as program
from lmlab import models
from lmlab.cli import batch as batch_command
from lmlab.cli import chat as chat_command
from lmlab.cli import run as run_command
from lmlab.lab import generate
from lmlab.lab.chat import Chat
from lmlab.models import ModelFile


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wish about colours but the test's own."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    path = tmp_path / "fake.gguf"
    path.write_bytes(b"GGUF")
    fake = Fake(ModelFile(ref="fake", path=path, header=fake_header(), notice=None))
    monkeypatch.setattr(generate, "resolve", fake.resolve)
    monkeypatch.setattr(models, "resolve", fake.resolve)
    for command in (run_command, chat_command, batch_command):
        monkeypatch.setattr(command, "local_backend", lambda paths: fake.open)
    monkeypatch.setitem(Chat.__init__.__kwdefaults__, "resolve", fake.resolve)
    return fake


@pytest.fixture
def lmlab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` in this process; ``stdin`` is what is piped into it."""

    def call(*arguments: str, stdin: bytes | Terminal = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["lmlab", *arguments])
        monkeypatch.setattr(sys, "stdin", stdin if isinstance(stdin, Terminal) else io.TextIOWrapper(io.BytesIO(stdin)))
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(threading, "excepthook", threading.excepthook)
        umask = os.umask(0o077)
        try:
            code = program.main()
        finally:
            os.umask(umask)
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Program:
    """Start ``lmlab ARGUMENTS`` as a program of its own, which Ctrl-C can interrupt."""
    sources = str(Path(program.__file__).parent.parent)
    path = os.pathsep.join(part for part in (sources, os.environ.get("PYTHONPATH")) if part)

    def popen(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # One thread: on a busy machine, threads that wait for one another take many times as long.
        environment = {**os.environ, "PYTHONPATH": path, "LMLAB_THREADS": "1", **options.pop("env", {})}
        # Where the tests themselves run in the background, interrupts are ignored, and would be by what they start.
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "lmlab", *arguments], env=environment, **{**usual, **options}
            )
        finally:
            signal.signal(signal.SIGINT, before)

    return popen
