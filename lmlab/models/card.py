"""All that can be said of a model without loading it, as one value. Knows nothing of tables or of terminals."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmlab.models.header import GgufHeader, TensorKind, part_paths
from lmlab.models.hyperparameters import Hyperparameters, hyperparameters
from lmlab.models.kv_size import KV_TYPES, KvShape, kv_shape
from lmlab.models.memory_need import MemoryNeeds, memory_needs
from lmlab.models.resolution import ModelFile
from lmlab.sampling import SamplingParams

A_THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Card:
    """``files`` are all parts. ``kv`` is None where the header does not tell what is kept of the text."""

    ref: str
    files: tuple[Path, ...]
    fingerprint: str
    name: str
    architecture: str
    size: int
    quantization: str
    licence: str | None
    shape: Hyperparameters
    kinds: tuple[TensorKind, ...]
    chat_template: str | None
    recommended: SamplingParams
    warnings: tuple[str, ...]
    kv: KvShape | None
    needs: MemoryNeeds

    @property
    def weights(self) -> int:
        """The bytes of the weights; of the whole file where the number format of some is not known."""
        return sum(kind.size for kind in self.kinds) if all(kind.size for kind in self.kinds) else self.size

    @property
    def template_hash(self) -> str | None:
        """A name for the chat template, the same as in records of replies."""
        return None if self.chat_template is None else hashlib.sha256(self.chat_template.encode()).hexdigest()[:16]

    def kv_per_thousand(self) -> dict[str, int]:
        """Return the bytes that 1,000 tokens take, by the type of the KV cache."""
        return {} if self.kv is None else {kind: self.kv.bytes_for(A_THOUSAND, kind) for kind in KV_TYPES}

    def to_dict(self) -> dict[str, Any]:
        return {
            "ref": self.ref,
            "path": str(self.files[0]),
            "files": [str(file) for file in self.files],
            "fingerprint": self.fingerprint,
            "name": self.name,
            "architecture": self.architecture,
            "size": self.size,
            "quantization": self.quantization,
            "licence": self.licence,
            "hyperparameters": self.shape.to_dict(),
            "tensor_types": [asdict(kind) for kind in self.kinds],
            "chat_template": self.chat_template,
            "template_hash": self.template_hash,
            "sampling": self.recommended.to_dict(),
            "memory": {
                "weights": self.weights,
                "kv_per_1000_tokens": self.kv_per_thousand(),
                "state_per_sequence": None if self.kv is None else self.kv.state,
                "context": self.needs.context,
                "total": self.needs.usual,
            },
        }


def card_of(model: ModelFile) -> Card:
    """Return the card of a model that is here; its file is sampled for the fingerprint."""
    header = model.header
    return Card(
        ref=model.ref,
        files=part_paths(model.path),
        fingerprint=model.fingerprint,
        name=header.name,
        architecture=header.architecture,
        size=header.size,
        quantization=header.quantization,
        licence=_licence(header),
        shape=hyperparameters(header),
        kinds=header.kinds,
        chat_template=header.chat_template,
        recommended=header.recommended,
        warnings=header.warnings,
        kv=kv_shape(header),
        needs=memory_needs(header),
    )


def _licence(header: GgufHeader) -> str | None:
    """Return the licence's name and where it is, as far as the file says."""
    said = [header.metadata.get(f"general.license{key}") for key in ("", ".name", ".link")]
    texts = dict.fromkeys(text for text in said if isinstance(text, str) and text)
    return " · ".join(texts) or None
