"""A short name for a model's exact bytes, cheap enough to take on every load. Knows nothing of what the bytes mean."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lmlab.errors import ModelFileError
from lmlab.models.header import part_paths

_MIB = 1 << 20
_BLOCK = 1 << 16
_BLOCKS = 64


def fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that name the bytes of the model at ``path``; all parts count.

    They begin the SHA-256 of, for each file: its size (8 bytes, little endian), its first MiB, 64 blocks of 64 KiB
    spread evenly from start to end, and its last MiB; a file of up to 6 MiB is read whole. Another quantization,
    another fine-tune or another chat template changes it; a few bytes changed by hand between the samples would not.
    Raises ModelFileError when a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in part_paths(path):
            _add(digest, part)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from None
    return digest.hexdigest()[:16]


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        digest.update(size.to_bytes(8, "little"))
        for start, length in _samples(size):
            file.seek(start)
            digest.update(file.read(length))


def _samples(size: int) -> list[tuple[int, int]]:
    if size <= 2 * _MIB + _BLOCKS * _BLOCK:
        return [(0, size)]
    blocks = [((size - _BLOCK) * number // (_BLOCKS - 1), _BLOCK) for number in range(_BLOCKS)]
    return [(0, _MIB), *blocks, (size - _MIB, _MIB)]
