from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tiny_gguf import write_gguf

from lmlab.errors import ModelError
from lmlab.models import fingerprint

MIB = 1 << 20


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "small.gguf"
    path.write_bytes(b"weights")

    assert fingerprint(path) == hashlib.sha256((7).to_bytes(8, "little") + b"weights").hexdigest()[:16]


def test_a_large_file_is_sampled_at_its_ends_and_between(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    data = bytearray(40 * MIB)
    path.write_bytes(data)
    names = {fingerprint(path)}
    step = (40 * MIB - (1 << 16)) // 63
    for changed in (0, MIB - 1, 31 * step + 100, 62 * step + 100, 39 * MIB, 40 * MIB - 1):
        other = bytearray(data)
        other[changed] = 1
        path.write_bytes(other)
        names.add(fingerprint(path))

    assert len(names) == 7


def test_the_size_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(bytes(10 * MIB))
    second.write_bytes(bytes(11 * MIB))

    assert fingerprint(first) != fingerprint(second)


def test_every_part_counts(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00002.gguf")
    write_gguf(tmp_path / "big-00002-of-00002.gguf", seed=1)
    before = fingerprint(first)
    write_gguf(tmp_path / "big-00002-of-00002.gguf", seed=2)

    assert fingerprint(first) != before


def test_the_real_models_differ(smollm2: Path, gemma3: Path) -> None:
    assert fingerprint(smollm2) != fingerprint(gemma3)
    assert len(fingerprint(smollm2)) == 16


def test_no_such_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.gguf"):
        fingerprint(tmp_path / "none.gguf")
