"""What the pinned llama.cpp computes wrongly for some architectures, and how a model of one is run so that it is right.

Found by comparing what tiny models say alone, together and from the cache. ``tests/architectures`` shows that each fault
is still there: what it no longer finds is to be taken off these lists.
"""

from __future__ import annotations

from dataclasses import replace

from lmlab.errors import ModelLoadError
from lmlab.llama import Model
from lmlab.worker.messages import LoadSpec

ONE_AT_A_TIME = frozenset({"arwkv7", "plamo2", "rwkv6qwen2"})
"""Sequences whose prompts are decoded together get states that are not theirs. For PLaMo 2 it can end the process."""

WITHOUT_COPIES = frozenset({"deepseek4"})
"""A copy of a state is made with the next decode only, and comes out empty if the original is dropped before. Only whole
sequences can be copied: anything else ends the process. So there is one sequence, and nothing is reused."""

WITHOUT_FLASH_ATTENTION = frozenset({"plm"})
"""With it the process ends."""

WRONG = {"cogvlm": "returns the logits of a prompt's first token for those of its last"}


def check_computed_rightly(model: Model, path: str) -> None:
    """Refuse a model whose replies would be wrong however it is run."""
    architecture = model.metadata("general.architecture") or ""
    if fault := WRONG.get(architecture):
        raise ModelLoadError(
            f"{path} is of the architecture {architecture}, for which this llama.cpp {fault}: use another model"
        )


def settled(spec: LoadSpec, model: Model) -> LoadSpec:
    """Return ``spec`` as ``model`` can be run: one sequence at a time, or without reuse, where more would go wrong.

    Raises ModelLoadError when flash attention is asked for that would end the process.
    """
    architecture = model.metadata("general.architecture")
    if architecture in ONE_AT_A_TIME | WITHOUT_COPIES:
        spec = replace(spec, sequences=1)
    if architecture in WITHOUT_COPIES:
        spec = replace(spec, reuse=False)
    if architecture in WITHOUT_FLASH_ATTENTION:
        if spec.flash_attention:
            raise ModelLoadError(
                f"{spec.path} is of the architecture {architecture}, for which this llama.cpp has no flash attention: "
                "leave out --flash-attn on"
            )
        spec = replace(spec, flash_attention=False)
    return spec
