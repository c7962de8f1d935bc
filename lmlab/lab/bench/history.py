"""Benchmarks kept: one JSON line each in a file that only grows. Knows nothing of how they are measured or shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from lmlab.errors import StoreError, UsageError
from lmlab.lab.bench.report import Report, parse_report
from lmlab.settings import expanded, private_folder
from lmlab.terminal_text import one_line

LAST = "last"


class History:
    """The benchmarks kept in ``folder``, in the order in which they were made."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"

    def append(self, report: Report) -> None:
        """Keep ``report``. Raises StoreError when it cannot be written."""
        line = json.dumps(report.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            private_folder(self.path.parent)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            # Not buffered, so that of two at once each writes its line in one piece.
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                # A line that was cut off, by a full disk or a power cut, must not swallow this one.
                if file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    line = "\n" + line
                data = line.encode("utf-8", "backslashreplace")
                while data:
                    data = data[file.write(data) :]
        except OSError as error:
            raise StoreError(
                f"the benchmark was not kept: cannot write {self.path}: {error.strerror or error}; make room or set LMLAB_HOME"
            ) from None

    def all(self) -> tuple[list[Report], int]:
        """Return all that can be read, the oldest first, and how many lines cannot. Raises StoreError."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror or error}; check who may read it") from None
        found, damaged = [], 0
        for number, line in enumerate(filter(str.strip, lines), 1):
            try:
                found.append(parse_report(line, f"line {number} of {self.path}"))
            except UsageError:
                damaged += 1
        return found, damaged

    def find(self, wanted: str, labels: Iterable[str]) -> Report:
        """Return the benchmark that ``wanted`` means: ``last`` is the latest that has one of ``labels``, or the latest of all;
        else the beginning of an id, or a file that --json wrote. Raises UsageError when there is none."""
        reports, _ = self.all()
        if wanted.lower() == LAST:
            if not reports:
                raise UsageError("--against last: no benchmark is kept yet: run lmlab bench once without --against")
            names = set(labels)
            alike = [report for report in reports if names & {result.label for result in report.results}]
            return (alike or reports)[-1]
        known = [report for report in reports if report.id.startswith(wanted)]
        if len(known) == 1:
            return known[0]
        if known:
            raise UsageError(f"--against {wanted}: {len(known)} benchmarks begin so: give more of the id")
        path = expanded(wanted)
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise UsageError(
                f"--against {one_line(wanted, 80)}: there is no such benchmark and no such file; "
                "lmlab bench --history lists those kept, and last is the latest"
            ) from None
        return parse_report(text, str(path))
