"""One row of a batch's input. Knows nothing of the file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmlab.errors import UsageError


@dataclass(frozen=True, slots=True)
class Row:
    """``number`` counts data rows from 1, ``line`` is where it begins; ``position`` is how many bytes were read so far.

    ``values`` holds every column, ``id`` too when there is one.
    """

    number: int
    line: int
    values: dict[str, Any]
    id: str | None
    position: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used; the message of ``error`` has the file and the line. The rows after it go on."""

    number: int
    line: int
    id: str | None
    error: UsageError
    position: int
