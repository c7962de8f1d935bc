"""What identifies a row of a run, and the seed that follows from it: the same on every machine and in every Python."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from lmlab.lab.batch.row import BadRow, Row

_SEEDS = 2**32 - 1
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def row_content(row: Row | BadRow) -> bytes:
    """Return 16 bytes that stand for what is in the row, whatever the order of its columns.

    Numbers differ as JSON writes them: 1 is not 1.0, and 1.0 is 1.00. A bad row is known by its place and its fault.
    """
    if isinstance(row, BadRow):
        return _digest(["bad row", row.line, str(row.error)])
    return _digest(row.values)


def row_key(run_fingerprint: str, row: Row | BadRow, occurrence: int) -> str:
    """Return 32 hex digits for the row in the run. ``occurrence`` counts, from 0, the rows of equal content before it."""
    return content_key(run_fingerprint, row_content(row), occurrence)


def content_key(run_fingerprint: str, content: bytes, occurrence: int) -> str:
    """Return ``row_key`` of a row whose ``row_content`` is at hand."""
    # As JSON would have it; a key is made for every row of every run.
    text = f'["{run_fingerprint}","{content.hex()}",{occurrence}]'
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def row_seed(run_seed: int, key: str) -> int:
    """Return the seed of the row called ``key``, 0 to 2**32 - 2: it depends on no other row."""
    digest = hashlib.blake2b(f"{run_seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _SEEDS


def _digest(value: Any) -> bytes:
    # ASCII, so that no text is beyond UTF-8; json writes the shortest digits that give a float back, everywhere.
    return hashlib.blake2b(_CANONICAL.encode(value).encode("ascii"), digest_size=16).digest()
