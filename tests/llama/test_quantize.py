"""llama.cpp's quantization, in this process: what it writes, what it refuses, and what it never hears of."""

from __future__ import annotations

from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from gguf.quants import dequantize
from loaded_models import library
from tiny_models import write_llama

from lmlab.errors import UsageError
from lmlab.llama.quantize import Quantization, quantize

Q8_0 = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
IQ2_XXS = 16
"""ggml's number, which is also that of Q5_K_S as a file."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library()
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", width=256)


def written(source: Path, target: Path, **options: object) -> dict[str, gguf.ReaderTensor]:
    wanted = Quantization(**({"file_type": Q8_0, "threads": 1} | options))  # type: ignore[arg-type]
    assert quantize(str(source), str(target), wanted)
    return {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}


def test_matrices_change_and_what_they_hold_stays_close(source: Path, tmp_path: Path) -> None:
    tensors = written(source, tmp_path / "new.gguf")
    assert {tensor.tensor_type.name for name, tensor in tensors.items() if "norm" not in name} == {"Q8_0"}
    assert {tensor.tensor_type.name for name, tensor in tensors.items() if "norm" in name} == {"F32"}
    for before in gguf.GGUFReader(source).tensors:
        after = tensors[before.name]
        values = dequantize(after.data, after.tensor_type)
        step = np.abs(before.data).max() / 127
        # Half a step, and what the scale loses as a 16-bit number.
        assert np.abs(values.reshape(before.data.shape) - before.data).max() <= 0.6 * step


@pytest.mark.parametrize(
    ("options", "name", "kind"),
    [
        ({}, "output.weight", "Q8_0"),
        ({"leave_output": True}, "output.weight", "F32"),
        ({"output": 1}, "output.weight", "F16"),
        ({"token_embedding": 30}, "token_embd.weight", "BF16"),
        ({"file_type": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M}, "output.weight", "Q6_K"),
        ({"file_type": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, "pure": True}, "output.weight", "Q4_K"),
    ],
)
def test_each_wish_reaches_the_tensor_it_is_about(
    source: Path, tmp_path: Path, options: dict[str, object], name: str, kind: str
) -> None:
    assert written(source, tmp_path / "new.gguf", **options)[name].tensor_type.name == kind


def test_few_rows_at_once_make_the_same_file(source: Path, tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole.gguf", tmp_path / "pieces.gguf"
    written(source, whole)
    written(source, pieces, buffer=1)
    assert whole.read_bytes() == pieces.read_bytes()


def test_importance_changes_what_is_written_and_notes_are_kept(source: Path, tmp_path: Path) -> None:
    kind = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_S
    plain = written(source, tmp_path / "plain.gguf", file_type=kind)
    columns = np.ones(256, np.float32)
    columns[:8] = 1000
    importance = {"blk.0.ffn_up.weight": columns}
    target = tmp_path / "weighted.gguf"
    weighted = written(
        source, target, file_type=kind, importance=importance, notes={"a.text": "ö" * 100, "a.number": 7}
    )
    before = next(t for t in gguf.GGUFReader(source).tensors if t.name == "blk.0.ffn_up.weight").data

    def error(tensor: gguf.ReaderTensor) -> float:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(before.shape)
        return float(((values - before)[:, :8] ** 2).mean())

    assert error(weighted["blk.0.ffn_up.weight"]) < 0.8 * error(plain["blk.0.ffn_up.weight"])
    assert (weighted["blk.1.ffn_up.weight"].data == plain["blk.1.ffn_up.weight"].data).all()
    fields = gguf.GGUFReader(target).fields
    assert fields["a.text"].contents() == "ö" * 63
    assert fields["a.number"].contents() == 7


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    assert quantize(str(source), str(tmp_path / "new.gguf"), Quantization(Q8_0, 1), dry_run=True)
    assert list(tmp_path.iterdir()) == []


def test_what_llama_cpp_refuses_is_false(source: Path, tmp_path: Path) -> None:
    written(source, tmp_path / "new.gguf")
    again = Quantization(llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, 1)
    assert not quantize(str(tmp_path / "new.gguf"), str(tmp_path / "newer.gguf"), again)
    assert not quantize(str(tmp_path / "none.gguf"), str(tmp_path / "newer.gguf"), again)


@pytest.mark.parametrize("number", [-1, 4, 5, 6, 33, 35, 1024, 4000])
def test_numbers_of_no_file_type_never_reach_it(source: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(UsageError, match="no type of a file"):
        quantize(str(source), str(tmp_path / "new.gguf"), Quantization(number, 1))


@pytest.mark.parametrize("number", [-1, IQ2_XXS, 17, 19, 43, 4000])
def test_numbers_of_types_that_would_end_the_process_never_reach_it(source: Path, tmp_path: Path, number: int) -> None:
    with pytest.raises(UsageError, match="token embeddings or the output"):
        quantize(str(source), str(tmp_path / "new.gguf"), Quantization(Q8_0, 1, token_embedding=number))
