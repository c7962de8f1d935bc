"""Writes the tiny model of a family: random weights of the shapes that llama.cpp asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiny_models
from families import Family
from family_keys import BASE
from tensor_layout import Shape, tensor_shapes

Array = npt.NDArray[np.float32]


def write_family(path: Path, family: Family) -> Path:
    """Write ``family`` to ``path``: the header alone first, for llama.cpp to say what belongs to it."""
    values = {
        key[1:] if key.startswith(".") else f"{family.architecture}.{key}": value
        for key, value in {**BASE, **family.keys}.items()
    }
    tiny_models.write_tensors(path, family.architecture, values, {})
    random = np.random.default_rng(0)
    # Rounding grows from block to block: less of it in deep models.
    gain = 1.5 if _blocks(family) <= 8 else 0.35
    shapes = tensor_shapes(path)
    assert shapes, f"llama.cpp refuses the metadata of {family.name}"
    tensors = {
        name: _values(name, shape, random, gain)
        for name, shape in shapes.items()
        if not any(part in name for part in family.without)
    }
    return tiny_models.write_tensors(path, family.architecture, values, tensors)


def _values(name: str, shape: Shape, random: np.random.Generator, gain: float) -> Array:
    noise = random.standard_normal(shape, np.float32)
    if "ssm_a" in name:
        # A decay.
        return -np.abs(noise) - np.float32(0.1)
    if name.endswith(("time_mix_decay.weight", "time_mix_w0.weight")):
        # How fast a state fades: not before the text is over.
        return np.float32(0.1) * noise - np.float32(4)
    if name.startswith("rope_") or "rope_f" in name:
        return np.ones(shape, np.float32)
    if name.split(".")[-2].endswith(("norm", "scale")) or name.endswith("scale"):
        return np.float32(1) + np.float32(0.05) * noise
    if name in ("token_embd.weight", "output.weight"):
        rows = noise * np.float32(0.2 if name.startswith("token") else 0.3)
        # No greedy reply ends early: the control tokens come last, with logits of 0 among large ones.
        rows[-3:] = 0
        return rows
    if len(shape) == 1:
        return np.float32(0.1) * noise
    # States that feed back on themselves grow beyond all bounds with larger weights.
    if "time_mix" in name:
        gain = 0.5
    # What came before counts for as much as the last token.
    if "attn_output" in name or "time_mix_output" in name:
        gain *= 3
    if "ffn_down" in name:
        gain /= 3
    return noise * np.float32(gain / shape[-1] ** 0.5)


def _blocks(family: Family) -> int:
    blocks = family.keys.get("block_count", BASE["block_count"])
    assert isinstance(blocks, int)
    return blocks
