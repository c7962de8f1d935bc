"""What the state of a sequence belongs to: the bytes of the model, and everything else that shapes the state.

llama.cpp restores a state of another model with the same shape and calls it a success, so all of this is compared
before it sees one. Knows nothing of files other than models and adapters.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from lmlab.errors import ModelLoadError
from lmlab.llama import Model
from lmlab.worker.snapshot_file import FORMAT

_EDGE = 1 << 20
_BLOCK = 1 << 14
_BLOCKS = 64
_PART = re.compile(r"-00001-of-(\d{5})\.gguf$")
_ROPE = (
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
)


@dataclass(frozen=True, slots=True)
class SnapshotKey:
    """Two states with equal keys can stand in for each other; with any other pair nothing is promised.

    ``model`` and the adapters of ``lora`` are named by ``file_identity``, each adapter with its scale. ``rope`` comes
    from ``rope_parameters``. ``flash_attention`` is whether it is really used: the layout of values differs.
    """

    model: str
    lora: tuple[tuple[str, float], ...]
    key_type: str
    value_type: str
    flash_attention: bool
    rope: tuple[str, ...]
    kv_unified: bool
    swa_full: bool
    library: str

    def digest(self) -> str:
        """Return 64 hexadecimal digits."""
        whole = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()


def file_identity(path: str) -> str:
    """Return 64 hexadecimal digits that name the bytes of a GGUF, all its parts, in milliseconds.

    They stand for each file's size, time of change, and samples of it: both ends, and blocks spread between. Unlike the
    fingerprint in records the time counts, so that an edit between the samples is seen too; a copy of a model is then
    another model. Raises ModelLoadError when a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part in _parts(path):
            _add(digest, part)
    except OSError as error:
        raise ModelLoadError(f"cannot read {error.filename or path}: {error.strerror or error}") from None
    return digest.hexdigest()


def rope_parameters(model: Model) -> tuple[str, ...]:
    """Return how positions are encoded, as the metadata of the file has it; nothing for what it leaves out."""
    architecture = model.metadata("general.architecture") or ""
    return tuple(model.metadata(f"{architecture}.{name}") or "" for name in _ROPE)


def _parts(path: str) -> list[Path]:
    first = Path(path)
    match = _PART.search(first.name)
    if not match:
        return [first]
    stem = first.name[: match.start()]
    return [first.with_name(f"{stem}-{number:05}-of-{match.group(1)}.gguf") for number in range(1, int(match[1]) + 1)]


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        digest.update(found.st_size.to_bytes(8, "little") + found.st_mtime_ns.to_bytes(8, "little", signed=True))
        digest.update(file.read(_EDGE))
        for number in range(_BLOCKS):
            file.seek(max(found.st_size - _BLOCK, 0) * number // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
        file.seek(max(found.st_size - _EDGE, 0))
        digest.update(file.read(_EDGE))
