"""The rows of a batch, streamed from a file or stdin. Knows nothing of prompts or models."""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.lab.batch.row import BadRow, Row
from lmlab.lab.batch.row_selection import Where, check_columns, parse_where, sample, where_rows
from lmlab.lab.batch.row_source import FORMATS, RowFormat, RowSource, parse_format
from lmlab.lab.batch.row_tables import read_table
from lmlab.lab.batch.row_texts import read_objects, read_texts

__all__ = [
    "FORMATS",
    "BadRow",
    "Row",
    "RowFormat",
    "RowSource",
    "Where",
    "check_columns",
    "parse_format",
    "parse_where",
    "read_rows",
    "sample",
    "where_rows",
]


def read_rows(source: RowSource) -> Iterator[Row | BadRow]:
    """Return the rows one after another, in constant memory; a row that is broken comes as a BadRow.

    What no row could mend (a table without a header, a format that cannot be told) raises UsageError at once.
    """
    lines = source.lines()
    match source.format:
        case "csv":
            return read_table(lines, source.name, ",")
        case "tsv":
            return read_table(lines, source.name, "\t")
        case "text":
            return read_texts(lines, source.name)
        case _:
            return read_objects(lines, source.name)
