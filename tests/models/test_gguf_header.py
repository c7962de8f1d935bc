from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
from tiny_gguf import write_gguf

from lmlab.errors import ModelFileError, ModelNotFound
from lmlab.models import GgufHeader, read_header
from lmlab.models.ggml_types import FILE_TYPES, TENSOR_TYPES
from lmlab.sampling import SamplingParams


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf")


def raw(*, version: int = 3, tensors: int = 0, pairs: int = 0, body: bytes = b"", order: str = "<") -> bytes:
    return b"GGUF" + struct.pack(f"{order}IQQ", version, tensors, pairs) + body


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def test_reads_what_the_gguf_package_writes(tmp_path: Path) -> None:
    values = {"general.file_type": 15, "tokenizer.chat_template": "{{ messages }}", "llama.pi": 3.5, "llama.on": True}
    path = write_gguf(tmp_path / "tiny.gguf", values=values, tokens=70_000, rows=6, tensors=5)

    header = read_header(path)

    assert (header.version, header.architecture, header.name) == (3, "llama", "Tiny")
    assert (header.context_length, header.block_count, header.embedding_length) == (256, 2, 32)
    assert (header.parameters, header.tensor_count) == (5 * 6 * 32, 5)
    assert header.quantization == "Q4_K_M"
    assert header.chat_template == "{{ messages }}"
    assert header.size == path.stat().st_size
    assert header.recommended == SamplingParams()
    assert header.metadata["llama.pi"] == 3.5
    assert header.metadata["llama.on"] is True
    assert "tokenizer.ggml.tokens" not in header.metadata


def test_agrees_with_the_gguf_package_on_the_real_models(smollm2: Path, gemma3: Path) -> None:
    smol, gemma = read_header(smollm2), read_header(gemma3)

    assert (smol.architecture, smol.quantization, smol.context_length) == ("llama", "Q4_1", 8192)
    assert smol.chat_template is not None
    assert (gemma.architecture, gemma.quantization, gemma.context_length) == ("gemma3", "Q4_K_M", 32768)
    assert gemma.chat_template is None
    reader = gguf.GGUFReader(smollm2)
    assert smol.tensor_count == len(reader.tensors)
    assert smol.parameters == sum(int(tensor.n_elements) for tensor in reader.tensors)
    single = {
        key: f.contents() for key, f in reader.fields.items() if len(f.types) == 1 and not key.startswith("GGUF.")
    }
    assert dict(smol.metadata) == single


def test_the_tables_agree_with_the_gguf_package() -> None:
    # llama.cpp has it, and the package does not yet.
    newer = "Q2_0"
    for number, kind in TENSOR_TYPES.items():
        if kind.name == newer:
            continue
        theirs = gguf.GGMLQuantizationType(number)
        assert (kind.name, *kind[1:]) == (theirs.name, *gguf.GGML_QUANT_SIZES[theirs])
    for number, name in FILE_TYPES.items():
        if name == newer:
            continue
        assert gguf.LlamaFileType(number).name.removeprefix("ALL_").removeprefix("MOSTLY_") == name


def test_quantization_without_a_file_type_is_the_type_of_most_bytes(model: Path) -> None:
    assert read_header(model).quantization == "F32"


def test_version_2_is_read(model: Path) -> None:
    data = bytearray(model.read_bytes())
    data[4:8] = struct.pack("<I", 2)
    model.write_bytes(data)

    assert read_header(model).version == 2


def test_recommended_sampling_is_taken_from_the_file(tmp_path: Path) -> None:
    values = {
        "general.sampling.temp": 0.5,
        "general.sampling.top_k": 20,
        "general.sampling.top_p": 0.75,
        "general.sampling.min_p": 0.125,
        "general.sampling.penalty_repeat": 1.25,
        "general.sampling.penalty_last_n": 32,
    }

    header = read_header(write_gguf(tmp_path / "tiny.gguf", values=values))

    assert header.recommended == SamplingParams(
        temperature=0.5, top_k=20, top_p=0.75, min_p=0.125, repeat_penalty=1.25, repeat_last_n=32
    )
    assert header.warnings == ()


@pytest.mark.parametrize("nonsense", [-3.0, float("nan"), "warm\x1b[2J", True])
def test_a_recommendation_out_of_range_is_left_out_and_named(tmp_path: Path, nonsense: object) -> None:
    values = {"general.sampling.temp": nonsense, "general.sampling.top_k": 20}

    header = read_header(write_gguf(tmp_path / "tiny.gguf", values=values))

    assert header.recommended == SamplingParams(top_k=20)
    (warning,) = header.warnings
    assert "temperature" in warning
    assert "\x1b" not in warning


def test_every_cut_is_refused(model: Path) -> None:
    data = model.read_bytes()
    for length in range(0, len(data), 7):
        model.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            read_header(model)


def test_a_file_cut_in_half_says_both_sizes(model: Path) -> None:
    data = model.read_bytes()
    model.write_bytes(data[: len(data) - 100])

    with pytest.raises(ModelFileError, match=rf"cut short: it holds {len(data) - 100:,} bytes of {len(data):,}"):
        read_header(model)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty"),
        (b"GG", "text file"),
        (b"once upon a time\n", "text file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"tjgg\x03\x00\x00\x00", "before GGUF"),
        (b'\x20\x00\x00\x00\x00\x00\x00\x00{"a": 1}', "safetensors"),
        (b"PK\x03\x04\x00\x00", "zip archive"),
        (b"\x00\x01\x02\x03\x04", "give a model in GGUF form"),
        (raw(version=1), "version 1"),
        (raw(version=9), "version 9"),
        (raw(order=">"), "big-endian"),
        (raw(tensors=1 << 60), "1,152,921,504,606,846,976 tensors"),
        (raw(tensors=1000), "1,000 tensors"),
        (raw(pairs=1 << 40), "metadata keys"),
        (raw(pairs=1, body=struct.pack("<Q", 1 << 62) + bytes(64)), "a text of"),
        (raw(pairs=1, body=text("k") + struct.pack("<I", 77) + bytes(64)), "unknown type 77"),
        (raw(pairs=1, body=text("k") + struct.pack("<II", 9, 77) + bytes(64)), "an array of unknown type 77"),
        (raw(pairs=1, body=text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(64)), "arrays inside an array"),
        (raw(pairs=1, body=text("k") + struct.pack("<IIQ", 9, 4, 1 << 61) + bytes(64)), "numbers in an array"),
        (raw(pairs=1, body=text("k") + struct.pack("<IIQ", 9, 8, 1 << 61) + bytes(64)), "strings in an array"),
        (raw(pairs=1, body=text("k") + struct.pack("<IIQQ", 9, 8, 2, 1 << 63) + bytes(64)), "longer than the file"),
        (raw(tensors=1, body=text("t") + struct.pack("<I", 900) + bytes(64)), "900 dimensions"),
        (raw(tensors=1, body=text("t") + struct.pack("<IQQIQ", 2, 1 << 60, 1 << 60, 0, 0)), "weights"),
        (raw(tensors=1, body=text("t") + struct.pack("<IQIQ", 1, 33, 2, 0)), "whole blocks of 32"),
        (raw(pairs=1, body=text("general.alignment") + struct.pack("<II", 4, 3)), "an alignment of 3"),
        (raw(pairs=1, body=text("general.name") + struct.pack("<I", 8) + text("x")), "names no architecture"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)

    with pytest.raises(ModelFileError) as error:
        read_header(path)

    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_other_kinds_of_gguf_are_named(tmp_path: Path) -> None:
    adapter = write_gguf(tmp_path / "lora.gguf", values={"general.type": "adapter"})
    projector = write_gguf(tmp_path / "mmproj.gguf", architecture="clip")
    vocabulary = write_gguf(tmp_path / "vocab.gguf", tensors=0)

    for path, says in ((adapter, "LoRA"), (projector, "mmproj"), (vocabulary, "no weights")):
        with pytest.raises(ModelFileError, match=says):
            read_header(path)


def mutations(data: bytes, count: int) -> list[bytes]:
    """Change one to four bytes, or one aligned word, or cut; most in the header, where it matters."""
    chance = random.Random(20)
    mutants = []
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(len(mutant) - 400)] = chance.choice((0, 1, 9, 127, 128, 255, chance.randrange(256)))
        if chance.random() < 0.3:
            at = chance.randrange(8, len(mutant) - 8)
            mutant[at : at + 8] = struct.pack("<Q", chance.choice((0, 1 << 31, 1 << 40, (1 << 64) - 1, (1 << 63) + 5)))
        mutants.append(bytes(mutant[: chance.randrange(len(mutant))] if chance.random() < 0.1 else mutant))
    return mutants


def test_mutated_files_give_a_header_or_an_error_in_little_memory(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "mutant.gguf"
    outcomes: set[type] = set()
    messages: list[str] = []
    tracemalloc.start()
    try:
        for data in mutations(model.read_bytes(), 600):
            path.write_bytes(data)
            try:
                outcomes.add(type(read_header(path)))
            except ModelFileError as error:
                outcomes.add(type(error))
                messages.append(str(error))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert outcomes == {GgufHeader, ModelFileError}
    assert not [message for message in messages if "\n" in message]
    assert peak < 8 << 20


def test_parts_are_one_model(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00002.gguf", values={"split.count": 2})
    second = write_gguf(tmp_path / "big-00002-of-00002.gguf", tensors=2, seed=1)

    header = read_header(first)

    assert header.tensor_count == 5
    assert header.size == first.stat().st_size + second.stat().st_size


def damage_second(second: Path) -> None:
    second.write_bytes(second.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("harm", "error", "says"),
    [(Path.unlink, ModelNotFound, "needs big-00002-of-00002.gguf"), (damage_second, ModelFileError, "cut short")],
)
def test_a_missing_or_cut_part_is_named(
    tmp_path: Path, harm: Callable[[Path], None], error: type[Exception], says: str
) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00002.gguf", values={"split.count": 2})
    harm(write_gguf(tmp_path / "big-00002-of-00002.gguf"))

    with pytest.raises(error, match=says):
        read_header(first)


def test_a_later_part_points_to_the_first(tmp_path: Path) -> None:
    write_gguf(tmp_path / "big-00001-of-00002.gguf")
    second = write_gguf(tmp_path / "big-00002-of-00002.gguf")

    with pytest.raises(ModelFileError, match=r"give the first, .*big-00001-of-00002\.gguf"):
        read_header(second)


def test_a_renamed_part_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "renamed.gguf", values={"split.count": 3})

    with pytest.raises(ModelFileError, match="one of 3 parts"):
        read_header(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file"):
        read_header(tmp_path / "none.gguf")
