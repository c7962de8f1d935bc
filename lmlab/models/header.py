"""What lmlab knows of a model before it is loaded: the meaning of a GGUF file's header.

Knows nothing of references, of downloads, or of llama.cpp at work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lmlab.errors import ModelFileError, ModelNotFound, SamplingError
from lmlab.models.ggml_types import FILE_TYPE_GUESSED, FILE_TYPES, TENSOR_TYPES
from lmlab.models.gguf_reader import Layout, Numbers, Scalar, Tensor, read_layout
from lmlab.sampling import BY_NAME, SamplingParams
from lmlab.terminal_text import one_line

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_RECOMMENDED = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repeat_penalty",
    "general.sampling.penalty_last_n": "repeat_last_n",
}


@dataclass(frozen=True, slots=True)
class TensorKind:
    """The tensors of one number format: how many, of how many weights, in how many bytes (0: the format is not known)."""

    name: str
    count: int
    weights: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A model's own account of itself. ``size`` is in bytes, all parts together; None means the file does not say.

    ``parameters`` counts the weights of every tensor, as llama.cpp does. ``quantization`` is the file's declared type,
    such as ``Q4_K_M``, else the type most of its bytes have. ``recommended`` is the sampling the file recommends;
    ``warnings`` has a line for each recommendation that is out of range, which is left out. ``metadata`` holds the
    header's single values; of its arrays ``lengths`` has how long each is and ``arrays`` the short ones of numbers.
    ``kinds`` are its tensors by number format, most bytes first.
    """

    version: int
    architecture: str
    name: str
    parameters: int
    quantization: str
    context_length: int | None
    block_count: int | None
    embedding_length: int | None
    chat_template: str | None
    recommended: SamplingParams
    warnings: tuple[str, ...]
    size: int
    tensor_count: int
    metadata: Mapping[str, Scalar] = field(repr=False, compare=False)
    lengths: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    arrays: Mapping[str, Numbers] = field(default_factory=dict, repr=False, compare=False)
    kinds: tuple[TensorKind, ...] = ()


def read_header(path: Path) -> GgufHeader:
    """Read and check the header of the model at ``path``; of one in parts, the first, and all are checked.

    Raises ModelNotFound, or ModelFileError when a file is no complete GGUF of a language model.
    """
    header = read_any_header(path)
    if reason := why_no_language_model(header):
        raise ModelFileError(f"{path} is {reason}")
    return header


def read_any_header(path: Path) -> GgufHeader:
    """Read a header as ``read_header`` does, also one of a GGUF that is no language model."""
    parts = part_paths(path)
    layouts = [read_layout(part) for part in parts]
    pairs = layouts[0].pairs
    declared = pairs.get("split.count", 1)
    if len(parts) == 1 and isinstance(declared, int) and declared > 1:
        raise ModelFileError(
            f"{path} is one of {declared} parts: give the file as it was named, NAME-00001-of-{declared:05}.gguf"
        )
    return _describe(path, layouts)


def part_paths(path: Path) -> tuple[Path, ...]:
    """Return every file of the model whose first file is ``path``: itself, or NAME-00001-of-0000N and those after it.

    Raises ModelNotFound when a part is missing and ModelFileError when ``path`` is not the first.
    """
    names = part_names(path.name)
    if path.name != names[0]:
        raise ModelFileError(f"{path} is a later part of a model: give the first, {path.with_name(names[0])}")
    parts = tuple(path.with_name(name) for name in names)
    missing = [part.name for part in parts[1:] if not part.is_file()]
    if missing and path.is_file():
        raise ModelNotFound(
            f"{path.name} needs {missing[0]} beside it, {len(missing)} of {len(parts)} parts are missing: fetch them"
        )
    return parts


def part_names(name: str) -> tuple[str, ...]:
    """Return the names of all parts when ``name`` is one of a split model's, else ``name`` alone."""
    match = _PART.search(name)
    if not match:
        return (name,)
    stem, count = name[: match.start()], int(match.group(2))
    suffix = name[match.end() - len(".gguf") :]
    return tuple(f"{stem}-{number:05}-of-{count:05}{suffix}" for number in range(1, count + 1)) or (name,)


def _describe(path: Path, layouts: list[Layout]) -> GgufHeader:
    pairs = layouts[0].pairs
    tensors = [tensor for layout in layouts for tensor in layout.tensors]
    architecture = _text(pairs, "general.architecture")
    if not architecture:
        raise ModelFileError(f"{path} names no architecture in its header: it is not a model llama.cpp can load")
    recommended, warnings = _recommended(pairs)
    return GgufHeader(
        version=layouts[0].version,
        architecture=architecture,
        name=_text(pairs, "general.name") or path.stem,
        parameters=sum(tensor.elements for tensor in tensors),
        quantization=_quantization(pairs, tensors),
        context_length=_whole(pairs, f"{architecture}.context_length"),
        block_count=_whole(pairs, f"{architecture}.block_count"),
        embedding_length=_whole(pairs, f"{architecture}.embedding_length"),
        chat_template=_text(pairs, "tokenizer.chat_template") or None,
        recommended=recommended,
        warnings=warnings,
        size=sum(layout.size for layout in layouts),
        tensor_count=len(tensors),
        metadata=pairs,
        lengths=layouts[0].lengths,
        arrays=layouts[0].arrays,
        kinds=_kinds(tensors),
    )


def why_no_language_model(header: GgufHeader) -> str | None:
    """Return what the file is instead, to follow "is", or None when it is one."""
    if header.metadata.get("general.type") == "adapter":
        return "a LoRA adapter, not a model: give the model it was made for"
    if header.architecture == "clip":
        return "an image encoder (mmproj), not a language model: give the model beside it"
    if header.tensor_count == 0:
        return "a file that holds a vocabulary and no weights: give a whole model"
    return None


def _kinds(tensors: list[Tensor]) -> tuple[TensorKind, ...]:
    groups: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.type, []).append(tensor)
    kinds = (
        TensorKind(_type_name(number), len(group), sum(t.elements for t in group), sum(t.size for t in group))
        for number, group in groups.items()
    )
    return tuple(sorted(kinds, key=lambda kind: (-kind.size, -kind.weights, kind.name)))


def _type_name(number: int) -> str:
    return TENSOR_TYPES[number].name if number in TENSOR_TYPES else f"type {number}"


def _quantization(pairs: Mapping[str, Scalar], tensors: list[Tensor]) -> str:
    declared = pairs.get("general.file_type")
    if isinstance(declared, int) and (name := FILE_TYPES.get(declared & ~FILE_TYPE_GUESSED)):
        return name
    weight: Counter[int] = Counter()
    for tensor in tensors:
        # A type this table lacks has no size here; its weights still count.
        weight[tensor.type] += tensor.size or tensor.elements
    if not weight:
        return "unknown"
    return _type_name(weight.most_common(1)[0][0])


def _recommended(pairs: Mapping[str, Scalar]) -> tuple[SamplingParams, tuple[str, ...]]:
    params, warnings = SamplingParams(), []
    for key, name in _RECOMMENDED.items():
        if key not in pairs:
            continue
        try:
            params = params.with_value(name, pairs[key])
        except SamplingError:
            what = BY_NAME[name]
            warnings.append(
                f"the model's file recommends {what.label} {one_line(str(pairs[key]), 20)}, "
                f"which is not {what.describe_range()}: it is left out"
            )
    return params, tuple(warnings)


def _text(pairs: Mapping[str, Scalar], key: str) -> str:
    value = pairs.get(key)
    return value if isinstance(value, str) else ""


def _whole(pairs: Mapping[str, Scalar], key: str) -> int | None:
    value = pairs.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
