"""Small GGUF files, written by the `gguf` package, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    values: Mapping[str, object] | None = None,
    tokens: int = 8,
    rows: int = 4,
    tensors: int = 3,
    seed: int = 0,
) -> Path:
    """Write a model of ``tensors`` matrices of ``rows`` x 32 float32 weights; ``values`` are more metadata."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_context_length(256)
    writer.add_block_count(2)
    writer.add_embedding_length(32)
    if tokens:
        writer.add_token_list([f"token{number}" for number in range(tokens)])
        writer.add_token_scores([0.5] * tokens)
    for key, value in (values or {}).items():
        _add(writer, key, value)
    random = np.random.default_rng(seed)
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.weight", random.random((rows, 32), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_int32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, str(value))
