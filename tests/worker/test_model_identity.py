from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest
import tiny_models
from loaded_models import load_model

from lmlab.errors import ModelLoadError
from lmlab.worker.model_identity import SnapshotKey, file_identity, rope_parameters

KEY = SnapshotKey(
    model="0" * 64,
    lora=(("1" * 64, 0.5),),
    key_type="f16",
    value_type="f16",
    flash_attention=True,
    rope=("64", "10000"),
    kv_unified=True,
    swa_full=True,
    library="0.3.36",
)


def test_every_part_of_the_key_counts() -> None:
    others = [
        replace(KEY, model="2" * 64),
        replace(KEY, lora=(("1" * 64, 0.25),)),
        replace(KEY, lora=(("2" * 64, 0.5),)),
        replace(KEY, lora=()),
        replace(KEY, key_type="q8_0"),
        replace(KEY, value_type="q8_0"),
        replace(KEY, flash_attention=False),
        replace(KEY, rope=("64", "1000000")),
        replace(KEY, kv_unified=False),
        replace(KEY, swa_full=False),
        replace(KEY, library="0.3.37"),
    ]
    assert {
        field.name
        for field in fields(KEY)
        for other in others
        if getattr(other, field.name) != getattr(KEY, field.name)
    } == {field.name for field in fields(KEY)}
    digests = {key.digest() for key in [KEY, *others]}
    assert len(digests) == len(others) + 1
    assert all(len(digest) == 64 and bytes.fromhex(digest) for digest in digests)
    assert replace(KEY).digest() == KEY.digest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(range(256)) * 40_000)
    os.utime(path, ns=(10**18, 10**18))
    return path


def changed(path: Path, place: int) -> str:
    """Return the identity after a byte at ``place`` has changed and the time has not."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return file_identity(str(path))


def test_other_bytes_another_size_and_another_time_are_another_model(file: Path) -> None:
    same = file_identity(str(file))
    assert file_identity(str(file)) == same
    seen = {same, changed(file, 0), changed(file, 500_000), changed(file, -1), changed(file, -500_000)}
    os.utime(file, ns=(10**18, 10**18 + 1))
    seen.add(file_identity(str(file)))
    file.write_bytes(file.read_bytes() + b"\0")
    os.utime(file, ns=(10**18, 10**18))
    seen.add(file_identity(str(file)))
    assert len(seen) == 7


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for part in parts:
        part.write_bytes(b"x" * 1000)
    before = file_identity(str(parts[0]))
    os.utime(parts[2], ns=(10**18, 10**18))
    assert file_identity(str(parts[0])) != before
    parts[1].unlink()
    with pytest.raises(ModelLoadError, match="00002-of-00003"):
        file_identity(str(parts[0]))


def test_an_empty_file_has_an_identity_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    assert len(file_identity(str(tmp_path / "empty.gguf"))) == 64
    with pytest.raises(ModelLoadError, match="cannot read"):
        file_identity(str(tmp_path / "none.gguf"))


def test_rope_parameters_are_those_of_the_file(smollm2: Path, tmp_path: Path) -> None:
    assert "100000.000000" in rope_parameters(load_model(smollm2))
    mamba = load_model(tiny_models.write_recurrent(tmp_path / "model.gguf"))
    assert set(rope_parameters(mamba)) <= {"", "8"}
