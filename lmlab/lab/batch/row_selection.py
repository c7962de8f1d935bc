"""Which rows of the input are done: conditions on a column, and a random sample."""

from __future__ import annotations

import heapq
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lmlab.errors import UsageError
from lmlab.lab.batch.row import BadRow, Row

_OPERATOR = re.compile(r"!=|=|~")
_MOST_NAMED = 20


class Where:
    """One condition, ``COL=VALUE``, ``COL!=VALUE`` or ``COL~REGEX``, and whether any row had the column.

    Values that are no strings are compared as they are written in JSON. A row without the column fails ``=`` and ``~``.
    """

    def __init__(self, text: str, column: str, operator: str, value: str) -> None:
        self.text = text
        self.column = column
        self._operator = operator
        self._value = value
        self._pattern = _compiled(text, value) if operator == "~" else None
        self._met = False
        self._others: dict[str, None] = {}

    @property
    def met(self) -> bool:
        """Whether any row so far had the column."""
        return self._met

    def holds(self, row: Row) -> bool:
        if self.column not in row.values:
            if not self._met and len(self._others) < _MOST_NAMED:
                self._others.update(dict.fromkeys(row.values))
            return self._operator == "!="
        self._met = True
        value = _as_text(row.values[self.column])
        if self._pattern is not None:
            return self._pattern.search(value) is not None
        return (value == self._value) == (self._operator == "=")

    def check(self) -> None:
        """Call when all rows were seen. Raises UsageError when none of them had the column."""
        if not self._met and self._others:
            known = ", ".join(list(self._others)[:_MOST_NAMED])
            raise UsageError(f"--where {self.text}: no row has a column {self.column!r}; there are {known}")


def parse_where(text: str) -> Where:
    found = _OPERATOR.search(text)
    if found is None or not found.start():
        raise UsageError(f"--where {text!r} is no condition: write COLUMN=VALUE, COLUMN!=VALUE or COLUMN~REGEX")
    return Where(text, text[: found.start()].strip(), found.group(), text[found.end() :])


def where_rows(rows: Iterable[Row | BadRow], conditions: Sequence[Where]) -> Iterator[Row | BadRow]:
    """Pass on the rows for which every condition holds, and bad rows, of which nobody can tell.

    Raises UsageError at the end when no row had a condition's column.
    """
    for row in rows:
        if isinstance(row, Row):
            # Every condition sees every row: it must know whether its column exists.
            held = [condition.holds(row) for condition in conditions]
            if not all(held):
                continue
        yield row
    for condition in conditions:
        condition.check()


def check_columns(rows: Iterable[Row | BadRow], conditions: Sequence[Where], named: Mapping[str, str]) -> None:
    """Raise UsageError for a column that no row has. ``named`` are columns by the option that names them.

    Reads as far as it takes to meet each of them once.
    """
    missing, others = dict(named), dict[str, None]()
    for row in rows:
        if isinstance(row, Row):
            for condition in conditions:
                condition.holds(row)
            missing = {option: column for option, column in missing.items() if column not in row.values}
            if len(others) < _MOST_NAMED:
                others.update(dict.fromkeys(row.values))
            if not missing and all(condition.met for condition in conditions):
                return
    for condition in conditions:
        condition.check()
    for option, column in missing.items():
        if others:
            raise UsageError(f"{option} {column}: no row has such a column; there are {', '.join(others)}")


def sample(rows: Iterable[Row | BadRow], count: int, seed: int) -> Iterator[Row | BadRow]:
    """Return ``count`` rows drawn at random, in input order; bad rows are drawn like others.

    The same input, count and seed give the same rows. Holds ``count`` rows in memory.
    """
    if count < 1:
        raise UsageError(f"--sample {count} draws no row: give 1 or more")
    draw = random.Random(seed)
    kept: list[tuple[float, int, Row | BadRow]] = []
    for place, row in enumerate(rows):
        # The rows with the largest keys are a uniform sample; places differ, so rows are never compared.
        entry = (draw.random(), -place, row)
        if len(kept) < count:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
    yield from (row for _, _, row in sorted(kept, key=lambda entry: -entry[1]))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _compiled(text: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--where {text}: the regular expression is wrong: {error}") from None
