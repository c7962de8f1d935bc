"""What an output already holds: whose lines they are, which rows they tell of, and what a crash left half done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from lmlab.errors import UsageError
from lmlab.lab.batch.line_file import LineFile
from lmlab.lab.batch.output_line import Found, Head, read_line
from lmlab.store.row_index import IndexedLine

_BATCH = 10_000


@dataclass(slots=True)
class Scan:
    """``ours`` and ``others`` (foreign ones, and those of other runs) count lines, ``torn`` what a crash left of some.

    ``torn_at`` is where the file ends without its last line, when that alone is torn; ``ended`` whether it ends a line.
    """

    ours: int = 0
    others: int = 0
    other_runs: int = 0
    torn: int = 0
    torn_bytes: int = 0
    torn_at: int | None = None
    ended: bool = True


def lines_of(file: LineFile) -> Iterator[tuple[int, bytes, Found]]:
    """Return each line of ``file``: where it starts, its bytes, and what it is."""
    after_ours = False
    for start, data in file.lines():
        line = read_line(data, after_ours)
        after_ours = isinstance(line, Head) or line == "torn"
        yield start, data, line


def scan(
    file: LineFile, number: int, runs: Collection[str], put: Callable[[list[IndexedLine]], None], *, force: bool
) -> Scan:
    """Read ``file`` once, giving ``put`` each line of ``runs`` as one of the file called ``number``.

    Changes nothing. Raises UsageError with its number for a line of no batch, unless ``force``.
    """
    found = Scan()
    batch: list[IndexedLine] = []
    for line_number, (start, data, line) in enumerate(lines_of(file), 1):
        found.torn_at = None
        found.ended = data.endswith(b"\n")
        if isinstance(line, Head):
            if line.run in runs:
                found.ours += 1
                batch.append(IndexedLine(line.key, number, start, len(data), line.failed, line.correct))
                if len(batch) >= _BATCH:
                    put(batch)
                    batch = []
            else:
                found.others += 1
                found.other_runs += 1
        elif line == "torn":
            found.torn += 1
            found.torn_bytes += len(data)
            found.torn_at = start if found.torn == 1 else None
        elif line == "foreign":
            if not force:
                raise UsageError(
                    f"{file.name}, line {line_number:,}, was not written by lmlab batch: write to another file with "
                    "-o, or add --force to keep what is there and append to it"
                )
            found.others += 1
    put(batch)
    return found


def check_runs(name: str, found: Scan) -> None:
    """Raises UsageError when there are lines of other runs."""
    if found.other_runs:
        lines = "1 line" if found.other_runs == 1 else f"{found.other_runs:,} lines"
        raise UsageError(
            f"{name} holds {lines} of another run (another model, template, technique or sampling): write to another "
            "file with -o, or add --force to keep them and append"
        )
