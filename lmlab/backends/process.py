"""A worker process: started, connected to, ended, and its end explained from its exit code and its log."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from lmlab.errors import EngineStopped
from lmlab.settings import private_folder
from lmlab.terminal_text import one_line
from lmlab.worker.messages import ABORT_MARK

KEPT_LOGS = 10
WAIT_S = 0.1
"""Between two looks at whether to go on."""
CRASH_S = 10.0
"""Longest that a crash may take, with a dump of its memory."""
LONGEST_SOCKET_PATH = 100
"""Bytes; Unix socket addresses hold about 104 on macOS and 108 on Linux."""


class WorkerProcess:
    """One ``python -m lmlab.worker``, or another program of that package. ``connection`` is there after ``connect``.

    Raises EngineStopped when it cannot be started, and UsageError when there can be no folder for its log.
    """

    def __init__(self, log_folder: Path, *, program: str = "lmlab.worker") -> None:
        try:
            self._start(log_folder, program)
        except OSError as error:
            raise EngineStopped(
                f"the engine could not be started: {error.strerror or error}: {error.filename or sys.executable}; "
                "LMLAB_HOME can name a folder you may write to"
            ) from None

    def _start(self, log_folder: Path, program: str) -> None:
        private_folder(log_folder)
        _prune(log_folder)
        self.log = log_folder / f"worker-{secrets.token_hex(4)}.log"
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        # A group of its own: Ctrl-C in the terminal is for the parent to act on.
        group = {"creationflags": 0x200} if sys.platform == "win32" else {"start_new_session": True}
        with os.fdopen(descriptor, "wb") as log:
            # -P: a folder called lmlab where the person happens to be is not this program.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=worker_environment(os.environ),
                **group,
            )

    def connect(self) -> Connection:
        """Wait for the process to listen and return the connection. Raises EngineStopped when it ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        key = secrets.token_bytes(32)
        try:
            # Only this user can enter the folder, and it is gone once the connection stands.
            private = tempfile.TemporaryDirectory(prefix="lmlab-")
        except OSError as error:
            self.end(0)
            raise EngineStopped(f"the engine could not be started: no temporary folder: {error}") from None
        with private as folder:
            family, address = _address(folder)
            try:
                self._process.stdin.write(json.dumps([family, address, key.hex()]) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
                if not line:
                    raise self.explain()
                listening = json.loads(line)
                # JSON has no tuples; an internet address is one.
                target = (listening[0], listening[1]) if isinstance(listening, list) else listening
                return Client(target, family=family, authkey=key)
            # ValueError: its input is closed, so it is being ended.
            except (EOFError, OSError, ValueError):
                raise self.explain() from None
            finally:
                self._process.stdout.close()

    def explain(self) -> EngineStopped:
        """Return why the process ended. One that does not, though it cannot be talked to any more, is made to."""
        self.end(CRASH_S)
        code = self._process.wait()
        return EngineStopped(
            f"the engine stopped: {self._reason(code)} (log: {self.log}); try again, and it starts anew"
        )

    def _reason(self, code: int) -> str:
        lines = [line for line in _tail(self.log).splitlines() if line.strip()]
        aborted = [line for line in lines if line.startswith(ABORT_MARK)]
        if aborted:
            return f"llama.cpp gave up: {one_line(aborted[-1].removeprefix(ABORT_MARK))}"
        if code == 1 and any(line.startswith("Timeout (") for line in lines):
            return "the model's chat template did not end in time; use --raw, or another model"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            if name == "SIGKILL":
                return "it was killed (SIGKILL), by hand or by the system for want of memory"
            return f"it crashed ({name})"
        if code and lines:
            return f"it ended with code {code}: {one_line(lines[-1])}"
        return f"it ended with code {code}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, patience_s: float = 2.0) -> None:
        """End the process: kindly by closing its input, then by force."""
        if self._process.stdin:
            # Unsent input is of no use to a process that is being ended.
            try:
                self._process.stdin.close()
            except OSError:
                pass
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


@contextmanager
def one_job(log_folder: Path, program: str) -> Iterator[tuple[WorkerProcess, Connection]]:
    """Give a process of its own and the connection to it. However this ends, so does the process.

    Raises EngineStopped with its last words when it dies.
    """
    process = WorkerProcess(log_folder, program=program)
    try:
        with process.connect() as connection:
            yield process, connection
    except (EOFError, OSError):
        raise process.explain() from None
    finally:
        process.end()


def reports(connection: Connection, cancelled: Callable[[], bool]) -> Iterator[Any]:
    """Yield what comes, until ``cancelled``, which is asked some ten times a second."""
    while not cancelled():
        if connection.poll(WAIT_S):
            yield connection.recv()


def worker_environment(inherited: Mapping[str, str], platform: str = sys.platform) -> dict[str, str]:
    """Return the worker's environment: on Linux, with what makes glibc ask for transparent huge pages.

    Weights, KV cache and buffers then lie in pages of 2 MiB, and the processor looks up far fewer addresses: decoding
    was 11 % faster for SmolLM2 and 25 % for Gemma 3. Another C library ignores it, and what the person has set stands.
    """
    environment = dict(inherited)
    if platform == "linux":
        tunables = [part for part in environment.get("GLIBC_TUNABLES", "").split(":") if part]
        if not any(part.startswith("glibc.malloc.hugetlb=") for part in tunables):
            environment["GLIBC_TUNABLES"] = ":".join([*tunables, "glibc.malloc.hugetlb=1"])
    return environment


def _address(folder: str) -> tuple[str, str | list[str | int]]:
    if sys.platform == "win32":
        return "AF_PIPE", rf"\\.\pipe\lmlab-{secrets.token_hex(16)}"
    path = os.path.join(folder, "worker")
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        return "AF_INET", ["127.0.0.1", 0]
    return "AF_UNIX", path


def _tail(path: Path, size: int = 16_384) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        # Another lmlab that keeps only the latest logs may have removed it.
        return ""


def _prune(folder: Path) -> None:
    """Remove all but the latest logs; another lmlab may be doing the same."""
    logs = []
    for path in folder.glob("worker-*.log"):
        try:
            logs.append((path.stat().st_mtime, path))
        except FileNotFoundError:
            continue
    for _, path in sorted(logs)[: -KEPT_LOGS + 1]:
        try:
            path.unlink()
        except OSError:
            # Windows does not remove a file that a worker still writes to.
            continue
