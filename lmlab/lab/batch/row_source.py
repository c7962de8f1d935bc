"""Where rows come from: a file or stdin, its format, and its lines. Knows nothing of what is in a row."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, get_args

from lmlab.errors import LmlabError, UsageError

RowFormat: TypeAlias = Literal["jsonl", "csv", "tsv", "text"]

FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)
MAX_LINE_BYTES = 64 << 20

_ENDINGS: dict[str, RowFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
}
_UNPACK = {".gz": "gzip -dc", ".zst": "zstd -dc", ".bz2": "bzip2 -dc", ".xz": "xz -dc"}
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_BLANK = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its end. Of one that is too long (not ``whole``) only the beginning is kept."""

    number: int
    data: bytes
    position: int
    whole: bool = True


class RowSource:
    """The input of a batch: a path, or ``-`` for ``stdin``. Close it when done.

    ``format`` is None until the first read when neither the ending of the name nor ``format`` tells it; it is then
    guessed from the first byte that is not blank, and ``guessed`` becomes true.
    """

    def __init__(self, place: str | Path, format: RowFormat | None = None, *, stdin: BinaryIO | None = None) -> None:
        self.place = str(place)
        self.format = format
        self.guessed = False
        self.size: int | None = None
        self._stdin = stdin
        self._spooled: BinaryIO | None = None
        self._started = False
        self.rewindable = False
        self.name = "stdin" if self.place == "-" else self.place
        if self.place != "-":
            self._stdin = None
            self._look()
        elif stdin is None:
            raise UsageError("there is nothing to read: stdin is closed; name a file with -i")

    def _look(self) -> None:
        try:
            found = os.stat(self.place)
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}; check the path given with -i") from None
        if stat.S_ISDIR(found.st_mode):
            raise UsageError(f"{self.name} is a folder: name a file of rows with -i")
        self.rewindable = stat.S_ISREG(found.st_mode)
        if self.rewindable:
            self.size = found.st_size
            self.format = self.format or _format_of(self.name)

    def spool(self) -> None:
        """Copy what can be read only once to a temporary file, so that it can be read again. It is gone after close."""
        if self.rewindable:
            return
        # Without a name where the system allows that, so that nothing is left after a kill.
        copy: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            with self._opened() as stream:
                shutil.copyfileobj(stream, copy, 1 << 20)
            self.size = copy.tell()
        except OSError as error:
            copy.close()
            raise LmlabError(
                f"cannot copy {self.name} to a temporary file: {error.strerror}; make room in {tempfile.gettempdir()}, "
                "or write the rows to a file and name it with -i"
            ) from None
        self._spooled = copy
        self.rewindable = True

    def lines(self) -> Iterator[Line]:
        """Return every line from the beginning, which for a stream is possible once (or after ``spool``).

        Reads up to the first line that is not blank at once, to know ``format``.
        """
        lines = self._read()
        if self.format is not None:
            return lines
        blank: list[Line] = []
        for line in lines:
            if line.data.strip(_BLANK):
                self.format = _guess(line.data, self.name)
                self.guessed = True
                return chain(blank, [line], lines)
            # Line numbers and positions live on in the lines that follow.
            blank = [line]
        self.format = "text"
        return iter(())

    def close(self) -> None:
        if self._spooled is not None:
            self._spooled.close()
            self._spooled = None
            self.rewindable = False

    def _read(self) -> Iterator[Line]:
        with self._opened() as stream:
            number = position = 0
            try:
                while data := stream.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    position += len(data)
                    whole = len(data) <= MAX_LINE_BYTES or data.endswith(b"\n")
                    if not whole:
                        position += _skip_line(stream)
                        data = data[:1000]
                    if number == 1:
                        data = self._without_mark(data)
                    yield Line(number, data, position, whole)
            except OSError as error:
                raise LmlabError(
                    f"reading {self.name} failed after {position:,} bytes: {error.strerror}; what was done so far is "
                    "kept, run the same command again"
                ) from None

    def _without_mark(self, data: bytes) -> bytes:
        if data.startswith(_UTF16_BOMS):
            raise UsageError(f"{self.name} is UTF-16: convert it first, for example with: iconv -f UTF-16 -t UTF-8")
        return data.removeprefix(_BOM)

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        if self._spooled is not None:
            self._spooled.seek(0)
            return nullcontext(self._spooled)
        if not self.rewindable:
            if self._started:
                raise ValueError(f"{self.name} can be read once: spool() it before the first reading")
            self._started = True
        if self._stdin is not None:
            return nullcontext(self._stdin)
        try:
            return open(self.place, "rb")
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}; check its permissions") from None


def parse_format(text: str) -> RowFormat:
    """Return the format called ``text``. Raises UsageError with those there are."""
    for name in FORMATS:
        if text.casefold() == name:
            return name
    raise UsageError(f"--format {text!r} is not known: there are {', '.join(FORMATS)}")


def _skip_line(stream: BinaryIO) -> int:
    skipped = 0
    while data := stream.readline(1 << 20):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped


def _format_of(name: str) -> RowFormat:
    ending = Path(name).suffix.casefold()
    if found := _ENDINGS.get(ending):
        return found
    if unpack := _UNPACK.get(ending):
        raise UsageError(f"{name} is compressed: unpack it on the way in: {unpack} {name} | lmlab batch -i -")
    if ending == ".json":
        raise UsageError(
            f"{name} would be one JSON value, and rows are one JSON object a line: make it so with "
            f"jq -c '.[]' {name} > rows.jsonl, or say --format jsonl when it is so already"
        )
    raise UsageError(
        f"the name {name} does not say its format: give --format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    )


def _guess(first: bytes, name: str) -> RowFormat:
    start = first.lstrip(_BLANK)
    if start.startswith(b"{"):
        return "jsonl"
    if start.startswith(b"[") and start[1:].lstrip(_BLANK)[:1] in (b"", b"{", b'"', b"["):
        raise UsageError(
            f"{name} begins like a JSON array, and rows are one JSON object a line: put jq -c '.[]' before it, "
            "or say --format text when each line is a prompt"
        )
    return "text"
