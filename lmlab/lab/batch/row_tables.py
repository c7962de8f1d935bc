"""Rows of a table with a header: CSV and TSV, quoted fields with newlines included."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from lmlab.errors import UsageError
from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.row_source import MAX_LINE_BYTES, Line
from lmlab.lab.batch.row_texts import Broken, bad_row, line_text, row_id

_PASSED_ON = ("unexpected end of data", "field larger than field limit")

# What a header with a single column is not likely to hold.
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


class _Records:
    """Feeds lines to the csv module and keeps account of which belong to the record being read."""

    def __init__(self, lines: Iterable[Line], delimiter: str) -> None:
        # The module's limit is one for the whole process, and its default of 128 KiB refuses long documents.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
        self._lines = iter(lines)
        self._reader = csv.reader(self._texts(), delimiter=delimiter, strict=True)
        self._broken: Broken | None = None
        self.first = 0
        self.last = 0
        self.position = 0

    def _texts(self) -> Iterator[str]:
        for line in self._lines:
            self.first = self.first or line.number
            self.last = line.number
            self.position = line.position
            try:
                yield line_text(line)
            except Broken as why:
                self._broken = self._broken or why
                yield line.data.decode("utf-8", "replace")

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> list[str] | Broken:
        """Return the fields of the next record (a blank line has none), or its fault. Raises StopIteration."""
        self.first = 0
        self._broken = None
        try:
            fields = next(self._reader)
        except csv.Error as error:
            return self._broken or Broken(self._explain(str(error)))
        return self._broken or fields

    def _explain(self, message: str) -> str:
        if message.startswith(_PASSED_ON):
            return (
                f"a quote is opened and not closed, so that everything up to line {self.last:,} was read as one field: "
                'close it, or write a quote inside a field as ""'
            )
        if "new-line character" in message:
            return "a carriage return stands alone in a field: save the file with line ends of \\n, or quote the field"
        return f'{message}: write a quote inside a field as "", and the field in quotes'


def read_table(lines: Iterable[Line], name: str, delimiter: str) -> Iterator[Row | BadRow]:
    """Read a table whose first row names the columns; all values are strings. Raises UsageError for a bad header."""
    records = _Records(lines, delimiter)
    header = _header(records, name)
    return _rows(records, header, name)


def _rows(records: _Records, header: list[str], name: str) -> Iterator[Row | BadRow]:
    number = 0
    for fields in records:
        if not fields:
            continue
        number += 1
        try:
            values = _by_column(header, fields)
            yield Row(number, records.first, values, row_id(values), records.position)
        except Broken as why:
            yield bad_row(number, records.first, records.position, name, why)


def _by_column(header: list[str], fields: list[str] | Broken) -> dict[str, Any]:
    if isinstance(fields, Broken):
        raise fields
    if len(fields) != len(header):
        found = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        raise Broken(f"{found}, and the header names {len(header)}: quote fields that hold the delimiter or a line end")
    return dict(zip(header, fields, strict=True))


def _header(records: _Records, name: str) -> list[str]:
    header = next((fields for fields in records if fields), None)
    if header is None:
        raise UsageError(f"{name} is empty: its first line must name the columns")
    if isinstance(header, Broken):
        raise UsageError(f"{name}, line {records.first:,}, the header: {header}")
    for other, words in _DELIMITERS.items():
        if len(header) == 1 and other in header[0]:
            raise UsageError(
                f"{name}, line {records.first:,}: the columns seem to be parted by {words}: for tabs say --format tsv, "
                "for commas --format csv, and save any other table with commas"
            )
    for column, label in enumerate(header, 1):
        if not label.strip():
            raise UsageError(f"{name}, line {records.first:,}: column {column} of the header has no name: name it")
        if label in header[: column - 1]:
            raise UsageError(f"{name}, line {records.first:,}: two columns are called {label!r}: rename one")
    return header
