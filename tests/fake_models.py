"""A model that is only a header, for what never opens it."""

from __future__ import annotations

from typing import Any

from lmlab.models import GgufHeader
from lmlab.sampling import SamplingParams


def fake_header(**values: Any) -> GgufHeader:
    """Return a chat model's header with ``values`` in place of its own."""
    usual: dict[str, Any] = {
        "version": 3,
        "architecture": "llama",
        "name": "Fake",
        "parameters": 1_000_000,
        "quantization": "Q4_0",
        "context_length": 8192,
        "block_count": 1,
        "embedding_length": 1,
        "chat_template": "{{ messages }}",
        "recommended": SamplingParams(),
        "warnings": (),
        "size": 1_000_000,
        "tensor_count": 1,
        "metadata": {},
    }
    return GgufHeader(**{**usual, **values})
