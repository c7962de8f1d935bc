"""LoRA adapters: small differences to a model's weights, applied by a context at a scale. Knows no context."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from lmlab.errors import ModelLoadError
from lmlab.llama.model import Model

_MAGIC = b"GGUF"


class Adapters:
    """The adapters in the files ``paths``, for ``model``; in memory beside its weights.

    To be made before the model's contexts, which make room for them, and closed after those and before the model.
    Raises ModelLoadError that names the file.
    """

    def __init__(self, model: Model, paths: Sequence[str]) -> None:
        self.pointers: list[Any] = []
        try:
            for path in paths:
                self.pointers.append(_open(model, path))
        except ModelLoadError:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.pointers)

    def close(self) -> None:
        for pointer in self.pointers:
            llama_cpp.llama_adapter_lora_free(pointer)
        self.pointers = []


def _open(model: Model, path: str) -> Any:
    pointer = llama_cpp.llama_adapter_lora_init(model.pointer, os.fsencode(path))
    if not pointer:
        raise ModelLoadError(f"the LoRA adapter {path} was not loaded: {_reason(model, path)}")
    if llama_cpp.llama_adapter_get_alora_n_invocation_tokens(pointer):
        llama_cpp.llama_adapter_lora_free(pointer)
        raise ModelLoadError(
            f"the LoRA adapter {path} was not loaded: it is an activated LoRA, switched on by tokens of the prompt, "
            "which lmlab does not do: use an ordinary one"
        )
    return pointer


def _reason(model: Model, path: str) -> str:
    """Return why llama.cpp refused, as far as the file itself shows; its own words are in the log."""
    try:
        with Path(path).open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        return f"{error.strerror}; check the path"
    if magic != _MAGIC:
        return "it is no GGUF file: convert it with llama.cpp's convert_lora_to_gguf.py"
    architecture = model.metadata("general.architecture")
    return f"it is no complete LoRA adapter for this model ({architecture}): use one that was made for it"
