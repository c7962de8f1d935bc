"""How many bytes of weights writing one token reads, from a file's header. Knows nothing of speed."""

from __future__ import annotations

from typing import NamedTuple

from lmlab.llama import FileHeader

_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"
_LOOKED_UP = ("position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")


class WeightsRead(NamedTuple):
    """``total`` None: not known. ``in_experts`` bytes of it, all experts of the model counted; of ``experts`` each token
    uses ``used``."""

    total: int | None
    in_experts: int
    experts: int
    used: int


def weights_read(header: FileHeader | None) -> WeightsRead:
    """Return what a token reads, experts that it does not use left out.

    Of tables that are looked up a row is read, next to nothing. Token embeddings are one, unless they serve as the output
    matrix, too, where there is none of its own.
    """
    if header is None:
        return WeightsRead(None, 0, 0, 0)
    tensors = header.tensors
    looked_up = {*_LOOKED_UP, *([_EMBEDDINGS] if _OUTPUT in tensors else [])}
    every = sum(size for name, size in tensors.items() if name not in looked_up)
    in_experts = sum(size for name, size in tensors.items() if "_exps." in name)
    experts, used = (_number(header, key) for key in ("expert_count", "expert_used_count"))
    if not in_experts or not experts or not 0 < used <= experts:
        return WeightsRead(every, 0, 0, 0)
    return WeightsRead(every - in_experts + in_experts * used // experts, in_experts, experts, used)


def _number(header: FileHeader, key: str) -> int:
    value = header.numbers.get(f"{header.architecture}.{key}", 0)
    return value if isinstance(value, int) else max(value, default=0)
