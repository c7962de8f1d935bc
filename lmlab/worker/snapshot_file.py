"""One snapshot as a file: which tokens it holds, for which key, and the state of the sequence.

::

    magic and format version    8 bytes
    key                         32 bytes
    number of tokens            4 bytes, little endian as all numbers here
    bytes of the state          8 bytes
    tokens                      4 bytes each
    SHA-256 of all above        32 bytes
    state
    SHA-256 of all above        32 bytes

The length of the file follows from its first 52 bytes, so a cut is seen before anything is read into memory, and the
tokens can be trusted without reading the state. llama.cpp itself notices neither a flipped bit nor another model's
state. Knows nothing of what a key is made of, or of what else lies in the folder.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from lmlab.snapshot_layout import TEMPORARY

FORMAT = 1
_MAGIC = b"lmlabkv" + bytes([FORMAT])
_FIXED = struct.Struct("<8s32sIQ")
_CHECKSUM = hashlib.sha256().digest_size

Tokens = npt.NDArray[np.int32]


class UnusableSnapshotError(Exception):
    """A file cannot be used, and why. Never leaves the worker: such a snapshot is a miss."""


class ForeignFileError(UnusableSnapshotError):
    """Something else under a snapshot's name, or a snapshot of another format."""


class DamagedSnapshotError(UnusableSnapshotError):
    """A snapshot that is not as it was written."""


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """``key`` in hexadecimal; ``tokens`` are what the sequence held; ``state_size`` in bytes."""

    key: str
    tokens: Tokens
    state_size: int


def size_on_disk(tokens: int, state_size: int) -> int:
    """Return the size of the file for so many tokens and bytes of state."""
    return _FIXED.size + 4 * tokens + _CHECKSUM + state_size + _CHECKSUM


def write(path: Path, key: str, tokens: Tokens, state: bytes | memoryview) -> None:
    """Write a snapshot to ``path``, readable by this user only: all of it, or nothing. Raises OSError."""
    head = _FIXED.pack(_MAGIC, bytes.fromhex(key), len(tokens), len(state)) + tokens.astype("<i4").tobytes()
    head += hashlib.sha256(head).digest()
    checksum = hashlib.sha256(head)
    checksum.update(state)
    temporary = path.with_name(path.name + TEMPORARY)
    # os.open writes text on Windows unless told otherwise.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in (head, state, checksum.digest()):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_header(path: Path) -> Header:
    """Read all but the state. Raises ForeignFileError, DamagedSnapshotError or OSError."""
    with path.open("rb") as file:
        return _read_head(file)[0]


def read_state(path: Path, key: str) -> bytes:
    """Read the state, and check all of the file. Raises ForeignFileError, DamagedSnapshotError or OSError."""
    with path.open("rb") as file:
        header, head = _read_head(file)
        if header.key != key:
            raise ForeignFileError("it was made for another model or with other settings")
        state = file.read(header.state_size)
        checksum = hashlib.sha256(head)
        checksum.update(state)
        if file.read() != checksum.digest():
            raise DamagedSnapshotError("its checksum is wrong")
    return state


def _read_head(file: BinaryIO) -> tuple[Header, bytes]:
    size = os.fstat(file.fileno()).st_size
    fixed = file.read(_FIXED.size)
    if not _MAGIC.startswith(fixed[: len(_MAGIC)]):
        raise ForeignFileError("it is not a snapshot of this version of lmlab")
    if len(fixed) < _FIXED.size:
        raise DamagedSnapshotError(f"it ends after {size:,} bytes")
    _, key, count, state_size = _FIXED.unpack(fixed)
    expected = size_on_disk(count, state_size)
    if size != expected:
        raise DamagedSnapshotError(f"it has {size:,} bytes where {expected:,} belong")
    ids = file.read(4 * count)
    if file.read(_CHECKSUM) != (digest := hashlib.sha256(fixed + ids).digest()):
        raise DamagedSnapshotError("the checksum of its tokens is wrong")
    return Header(key.hex(), np.frombuffer(ids, "<i4").astype(np.int32), state_size), fixed + ids + digest
