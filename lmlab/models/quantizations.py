"""The types that a model's weights can be written as, by llama.cpp's names. A table; knows nothing of files."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from lmlab.errors import UsageError
from lmlab.models.ggml_types import FILE_TYPES, TENSOR_TYPES
from lmlab.terminal_text import one_line


class FileType(NamedTuple):
    """``bits`` a weight in a model of 8 billion weights; smaller ones take more, for more of them is embeddings.

    ``needs_importance``: too few bits to be spread well without knowing which columns matter.
    """

    bits: float
    needs_importance: bool = False


# Bits from llama.cpp's tools/quantize/README.md for Llama 3.1 8B, else those of the type alone.
QUANTIZATIONS: dict[str, FileType] = {
    "F32": FileType(32),
    "F16": FileType(16),
    "BF16": FileType(16),
    "Q8_0": FileType(8.5),
    "Q6_K": FileType(6.6),
    "Q5_K_M": FileType(5.7),
    "Q5_K_S": FileType(5.6),
    "Q5_1": FileType(6),
    "Q5_0": FileType(5.6),
    "Q4_K_M": FileType(4.9),
    "Q4_K_S": FileType(4.7),
    "Q4_1": FileType(5.1),
    "Q4_0": FileType(4.6),
    "IQ4_NL": FileType(4.7),
    "IQ4_XS": FileType(4.5),
    "MXFP4_MOE": FileType(4.3),
    "Q3_K_L": FileType(4.3),
    "Q3_K_M": FileType(4.0),
    "Q3_K_S": FileType(3.6),
    "IQ3_M": FileType(3.8),
    "IQ3_S": FileType(3.7),
    "IQ3_XS": FileType(3.5, True),
    "IQ3_XXS": FileType(3.3, True),
    "Q2_K": FileType(3.2),
    "Q2_K_S": FileType(3.0, True),
    "Q2_0": FileType(2.3),
    "IQ2_M": FileType(2.9, True),
    "IQ2_S": FileType(2.7, True),
    "IQ2_XS": FileType(2.6, True),
    "IQ2_XXS": FileType(2.4, True),
    "TQ2_0": FileType(2.1),
    "TQ1_0": FileType(1.7),
    "IQ1_M": FileType(2.1, True),
    "IQ1_S": FileType(2.0, True),
    "Q1_0": FileType(1.1),
}
_SHORT = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE", "FP16": "F16", "FP32": "F32"}
"""What people and llama-quantize also call them."""

# Those of ggml's types that llama.cpp writes without an importance matrix.
TENSORS = (
    *("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS"),
    *("MXFP4", "Q3_K", "IQ3_S", "Q2_K", "Q2_0", "TQ2_0", "TQ1_0", "Q1_0"),
)


def file_type(text: str) -> str:
    """Return the name of the type that ``text`` means. Raises UsageError with near names and all there are."""
    name = text.strip().upper().replace("-", "_")
    name = _SHORT.get(name, name)
    if name not in QUANTIZATIONS:
        raise UsageError(_unknown(text, name, tuple(QUANTIZATIONS)))
    return name


def file_type_number(name: str) -> int:
    """Return llama.cpp's number of a type in QUANTIZATIONS."""
    return next(number for number, known in FILE_TYPES.items() if known == name)


def tensor_type(text: str) -> str:
    """Return the name of a single tensor's type that ``text`` means. Raises UsageError."""
    name = text.strip().upper().replace("-", "_")
    if name not in TENSORS:
        raise UsageError(_unknown(text, name, TENSORS))
    return name


def tensor_type_number(name: str) -> int:
    """Return ggml's number of a type in TENSORS."""
    return next(number for number, known in TENSOR_TYPES.items() if known.name == name)


def block_of(name: str) -> int:
    """Return how many weights a block of a type in TENSORS has; rows are whole blocks."""
    return TENSOR_TYPES[tensor_type_number(name)].block_elements


def _unknown(text: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no type {one_line(text, 40)!r}: {hint}there are {', '.join(known)}"
