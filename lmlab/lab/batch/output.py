"""Where the results of a batch go: a file that survives a kill at any moment and is resumed, or a stream.

Knows nothing of rows or models: a row is its key, a result any JSON object.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.batch.output_line import KEY, RUN, format_line, has_failed

State: TypeAlias = Literal["new", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Known:
    """What an output knows of a row. ``place``: where its line begins, None without one; ``correct``: as its line says."""

    state: State
    place: int | None = None
    correct: bool | None = None


NEW = Known("new")

# Names of streams that may stand for an ordinary file, which whoever opened it also writes to.
_STREAMS = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


class Output(ABC):
    """Results by key. A record with an ``error`` that is not null tells of a failed row, any other of one that is done.

    ``done`` and ``failed`` count rows; ``notes`` say what was repaired on opening. Use from one thread at a time.
    """

    def __init__(self, name: str, runs: Collection[str]) -> None:
        wrong = [run for run in runs if not RUN.fullmatch(run)]
        if wrong or not runs:
            raise ValueError(f"a run is 16 hex digits: {wrong or 'none given'}")
        self.name = name
        self.done = 0
        self.failed = 0
        self.notes: tuple[str, ...] = ()
        self._runs = frozenset(runs)

    @classmethod
    def open(
        cls,
        path: Path | None,
        runs: Collection[str],
        *,
        force: bool = False,
        stdout: Callable[[str], None] | None = None,
    ) -> Output:
        """Open the file at ``path``, or the stream ``stdout`` (given each line) when there is no path.

        A file is locked and repaired, and what it holds of ``runs`` is indexed. Raises UsageError when another run
        writes to it, or when it holds other lines and not ``force``, which keeps them; the file is then untouched.
        """
        from lmlab.lab.batch.output_file import FileOutput

        if path is None:
            if stdout is None:
                raise ValueError("an output without a path needs stdout")
            return StreamOutput("stdout", runs, stdout)
        if _is_stream(path):
            return _opened_stream(path, runs)
        return FileOutput(path, runs, force=force)

    @abstractmethod
    def find(self, keys: Sequence[str]) -> list[Known]:
        """Return what is known of each row, at most row_index.GROUP: nothing, its result, or its failure."""

    def state(self, key: str) -> State:
        return self.find((key,))[0].state

    @abstractmethod
    def write(self, key: str, record: Mapping[str, Any]) -> None:
        """Write the line of a row that is not done, at once. ``record`` has its ``run`` when there are several.

        Raises LmlabError when it cannot be written; nothing of the line is then there, and the row is not done.
        """

    @abstractmethod
    def skip(self, key: str, record: Mapping[str, Any]) -> None:
        """Write that a row has no line in the output and why, beside it: as ``write`` to ``OUTPUT.skipped.jsonl``.

        A stream has no such place: there the row is only counted.
        """

    @abstractmethod
    def forget_failed(self, keys: Iterable[str] | None = None) -> None:
        """Remove the lines of failed rows, of all or of ``keys``, which makes them new."""

    @abstractmethod
    def reorder(self, keys: Iterable[str]) -> None:
        """Put the lines into the order of ``keys``, those of other rows after them, of other runs before them.

        What was streamed stays as it is.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up the output, with all on disk. Closing twice is closing once."""

    @property
    def lasting(self) -> bool:
        """Whether what is written can be found again."""
        return False

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, key: str, record: Mapping[str, Any]) -> str:
        if not KEY.fullmatch(key):
            raise ValueError(f"a key is 32 hex digits, not {key!r}")
        run = record.get("run")
        if run is None and len(self._runs) == 1:
            (run,) = self._runs
        if run not in self._runs:
            raise ValueError(f"the record names no run of this output: {run!r}")
        return format_line(key, run, {**record, "run": run, "key": key})

    def _count(self, before: State, failed: bool) -> None:
        if before == "failed":
            self.failed -= 1
        if failed:
            self.failed += 1
        else:
            self.done += 1


class StreamOutput(Output):
    """Lines that are gone once written: nothing to resume, to repair or to order."""

    def __init__(
        self,
        name: str,
        runs: Collection[str],
        send: Callable[[str], None],
        release: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name, runs)
        self._send = send
        self._release = release

    def find(self, keys: Sequence[str]) -> list[Known]:
        return [NEW] * len(keys)

    def write(self, key: str, record: Mapping[str, Any]) -> None:
        self._send(self._line(key, record))
        self._count("new", has_failed(record))

    def skip(self, key: str, record: Mapping[str, Any]) -> None:
        self._count("new", has_failed(record))

    def forget_failed(self, keys: Iterable[str] | None = None) -> None:
        pass

    def reorder(self, keys: Iterable[str]) -> None:
        pass

    def close(self) -> None:
        if self._release is not None:
            self._release()
            self._release = None


def _is_stream(path: Path) -> bool:
    place = os.path.abspath(path)
    if place.startswith(_STREAMS):
        return True
    try:
        mode = os.stat(place).st_mode
    except OSError:
        return False
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder: name a file in it with -o")
    return not stat.S_ISREG(mode)


def _opened_stream(path: Path, runs: Collection[str]) -> Output:
    try:
        stream = open(path, "ab", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise LmlabError(f"cannot write to {path}: {error.strerror}; name another output with -o") from None

    def send(line: str) -> None:
        data = memoryview(line.encode("utf-8"))
        try:
            while data:
                data = data[stream.write(data) or 0 :]
        except BrokenPipeError:
            raise LmlabError(f"whoever read {path} has stopped reading: start it again, and this command") from None
        except OSError as error:
            raise LmlabError(f"cannot write to {path}: {error.strerror}; make room and try again") from None

    return StreamOutput(str(path), runs, send, stream.close)
