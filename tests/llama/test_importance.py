"""Importance matrices in both forms of llama-imatrix, and files that are none."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from lmlab.errors import UsageError
from lmlab.llama.importance import read_importance

NAME = "blk.0.ffn_up.weight"


def write_new(path: Path, arrays: dict[str, np.ndarray], chunks: int | None = 5) -> Path:
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    if chunks is not None:
        writer.add_uint32("imatrix.chunk_count", chunks)
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def older(values: list[float], calls: int, *, name: bytes = NAME.encode(), rest: bytes = b"") -> bytes:
    head = struct.pack(f"<ii{len(name)}sii", 1, len(name), name, calls, len(values))
    return head + struct.pack(f"<{len(values)}f", *values) + rest


def test_sums_are_divided_by_what_was_counted_expert_by_expert(tmp_path: Path) -> None:
    sums = np.array([[2, 4, 6], [9, 9, 9], [5, 10, 15]], np.float32)
    counts = np.array([[2], [0], [5]], np.float32)
    path = write_new(tmp_path / "i.gguf", {f"{NAME}.in_sum2": sums, f"{NAME}.counts": counts})
    found = read_importance(str(path))
    assert found.chunks == 5
    assert list(found.columns) == [NAME]
    assert found.columns[NAME].tolist() == [1, 2, 3, 1, 1, 1, 1, 2, 3]


def test_the_older_form_is_divided_by_its_calls(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.dat"
    path.write_bytes(older([2, 4, 6], 2, rest=struct.pack("<ii4s", 9, 4, b"text")))
    found = read_importance(str(path))
    assert found.columns[NAME].tolist() == [1, 2, 3]
    assert found.chunks == 9
    path.write_bytes(older([2, 4, 6], 0))
    assert read_importance(str(path)).columns[NAME].tolist() == [2, 4, 6]
    assert read_importance(str(path)).chunks == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it ends early"),
        (b"GGUF and no more", "its header is damaged"),
        (struct.pack("<i", 0), "neither a GGUF"),
        (struct.pack("<i", 1 << 30), "neither a GGUF"),
        (struct.pack("<ii", 1, -4), "the name of an entry has -4 bytes"),
        (struct.pack("<ii", 1, 1 << 20), "the name of an entry has 1,048,576 bytes"),
        (older([1, 2, 3], 1)[:-1], "claims 3 values"),
        (struct.pack("<ii4sii", 1, 4, b"name", 1, 1 << 30), "claims 1,073,741,824 values"),
        (older([1, float("nan")], 1), "not numbers"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "imatrix.dat"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=why):
        read_importance(str(path))


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"other": np.ones(4, np.float32)}, "no entries"),
        ({f"{NAME}.in_sum2": np.ones(4, np.float32)}, "do not belong together"),
        (
            {f"{NAME}.in_sum2": np.ones(4, np.float32), f"{NAME}.counts": np.ones(3, np.float32)},
            "do not belong together",
        ),
        ({f"{NAME}.in_sum2": np.ones(4, np.float16), f"{NAME}.counts": np.ones(1, np.float32)}, "32-bit numbers"),
        ({f"{NAME}.in_sum2": np.full(4, np.inf, np.float32), f"{NAME}.counts": np.ones(1, np.float32)}, "not numbers"),
    ],
)
def test_a_gguf_that_is_no_importance_matrix_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        read_importance(str(write_new(tmp_path / "i.gguf", arrays, chunks=None)))


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    arrays = {f"{NAME}.in_sum2": np.ones(400, np.float32), f"{NAME}.counts": np.ones(1, np.float32)}
    path = write_new(tmp_path / "i.gguf", arrays)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UsageError, match="no importance matrix"):
        read_importance(str(path))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the importance matrix"):
        read_importance(str(tmp_path / "none"))
