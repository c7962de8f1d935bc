"""What papers tabulate of a model, out of its file's header. Knows nothing of files, of memory or of who shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from lmlab.models.gguf_reader import Numbers, Scalar
from lmlab.models.header import GgufHeader

PerLayer: TypeAlias = int | tuple[int, ...]
"""One number for all layers, or one for each."""


_WINDOW_PERIODS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma-embedding": 6,
    "gpt-oss": 2,
    "cohere2": 4,
    "olmo2": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "smallthinker": 4,
    "llama4": 4,
    "afmoe": 4,
    "cohere2moe": 4,
    "laguna": 4,
    "mellum": 4,
    "muse-glimmer": 4,
    "plamo3": 8,
    "modern-bert": 3,
    "phi3": 1,
}
"""Of so many layers in a row one sees everything, where the file does not say; from load_swa_pattern's callers."""
_WHOLE_FIRST = {"smallthinker", "modern-bert", "cohere2moe", "laguna"}
_FIXED_WINDOWS = {"llama4": 8192, "smallthinker": 4096}
"""Tokens, whatever window the file says; 0 there is none."""
_WINDOW_BASE = 10_000.0
_OTHER_WINDOW_BASE = {"gemma3", "gemma3n", "gemma4", "gemma-embedding", "modern-bert", "plamo3"}
"""Where the file does not say it, the windowed layers have _WINDOW_BASE; elsewhere they have that of all."""


@dataclass(frozen=True, slots=True)
class Rope:
    """How positions are encoded. ``base_window`` is the base of sliding-window layers where it is another."""

    base: float | None
    base_window: float | None
    dimensions: int | None
    scaling: str | None
    factor: float | None
    original_context: int | None


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """None where the file does not say, or where the architecture has no such thing.

    ``head_size`` is that of queries and keys, ``value_size`` that of values. ``windowed_layers``: how many layers see only
    ``sliding_window`` tokens, as the file says or, where it is silent, as llama.cpp has it for the architecture. ``tokenizer`` is the kind, and after a slash how it splits words.
    """

    parameters: int
    vocabulary: int | None
    layers: int | None
    embedding: int | None
    heads: PerLayer | None
    kv_heads: PerLayer | None
    head_size: int | None
    value_size: int | None
    feed_forward: PerLayer | None
    experts: int | None
    experts_used: int | None
    experts_shared: int | None
    expert_feed_forward: int | None
    context: int | None
    sliding_window: int | None
    windowed_layers: int | None
    state_size: int | None
    tokenizer: str | None
    rope: Rope

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


class Keys:
    """The values of one architecture's keys, each of the type it should have or None."""

    def __init__(self, header: GgufHeader) -> None:
        self._prefix = f"{header.architecture}."
        self._single = header.metadata
        self._arrays = header.arrays

    def whole(self, key: str) -> int | None:
        value = self._single.get(self._prefix + key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def number(self, key: str) -> float | None:
        value = self._single.get(self._prefix + key)
        # No number, or an infinite one, is damage; JSON has neither.
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return float(value)

    def text(self, key: str) -> str | None:
        value = self._single.get(self._prefix + key)
        return value if isinstance(value, str) and value else None

    def per_layer(self, key: str) -> PerLayer | None:
        """Return one number, or as many as there are layers that are not all the same."""
        values = self._arrays.get(self._prefix + key)
        if values is None:
            return self.whole(key)
        numbers = tuple(int(value) for value in values if value >= 0 and value == value // 1)
        if not numbers or len(numbers) != len(values):
            return None
        return numbers[0] if len(set(numbers)) == 1 else numbers

    def flags(self, key: str) -> Numbers | None:
        return self._arrays.get(self._prefix + key)


def hyperparameters(header: GgufHeader) -> Hyperparameters:
    """Return what the file says; what llama.cpp adds where a file is silent is added here, too."""
    keys = Keys(header)
    heads = keys.per_layer("attention.head_count")
    usual = _head_size(header.embedding_length, heads)
    window = _window(header.architecture, keys)
    return Hyperparameters(
        parameters=header.parameters,
        vocabulary=vocabulary(header),
        layers=header.block_count,
        embedding=header.embedding_length,
        heads=heads or None,
        kv_heads=_first(keys.per_layer("attention.head_count_kv"), heads) if heads else None,
        head_size=keys.whole("attention.key_length") or usual,
        value_size=keys.whole("attention.value_length") or usual,
        feed_forward=keys.per_layer("feed_forward_length") or None,
        experts=keys.whole("expert_count") or None,
        experts_used=keys.whole("expert_used_count") or None,
        experts_shared=keys.whole("expert_shared_count") or None,
        expert_feed_forward=keys.whole("expert_feed_forward_length") or None,
        context=header.context_length,
        sliding_window=window,
        windowed_layers=_windowed(header, keys) if window else None,
        state_size=keys.whole("ssm.state_size") or None,
        tokenizer=_tokenizer(header.metadata.get),
        rope=_rope(keys, _WINDOW_BASE if window and header.architecture in _OTHER_WINDOW_BASE else None),
    )


def vocabulary(header: GgufHeader) -> int | None:
    """Return how many tokens there are."""
    return header.lengths.get("tokenizer.ggml.tokens") or Keys(header).whole("vocab_size")


def _window(architecture: str, keys: Keys) -> int | None:
    said = keys.whole("attention.sliding_window")
    # Files of Llama 4 say nothing and have one; those of SmallThinker without one say nothing.
    if architecture in _FIXED_WINDOWS and (said or (said is None and architecture == "llama4")):
        return _FIXED_WINDOWS[architecture]
    return said or None


def _windowed(header: GgufHeader, keys: Keys) -> int | None:
    pattern = keys.flags("attention.sliding_window_pattern")
    if pattern is not None:
        return sum(map(bool, pattern))
    period = keys.whole("attention.sliding_window_pattern") or _WINDOW_PERIODS.get(header.architecture)
    layers = header.block_count
    if not period or not layers:
        return None
    # The last of each period sees everything, or the first: of what is left over, the first is the first.
    whole, rest = divmod(layers, period)
    every = whole + (1 if rest and header.architecture in _WHOLE_FIRST else 0)
    return layers - every


def _head_size(embedding: int | None, heads: PerLayer | None) -> int | None:
    most = max(heads) if isinstance(heads, tuple) else heads
    return embedding // most if embedding and most else None


def _first(*values: PerLayer | None) -> PerLayer | None:
    return next((value for value in values if value is not None), None)


def _tokenizer(get: Callable[[str], Scalar | None]) -> str | None:
    kind, split = get("tokenizer.ggml.model"), get("tokenizer.ggml.pre")
    if not isinstance(kind, str) or not kind:
        return None
    return f"{kind}/{split}" if isinstance(split, str) and split not in ("", "default") else kind


def _rope(keys: Keys, window_base: float | None) -> Rope:
    scaling = keys.text("rope.scaling.type")
    return Rope(
        base=keys.number("rope.freq_base"),
        base_window=keys.number("rope.freq_base_swa") or window_base,
        dimensions=keys.whole("rope.dimension_count"),
        scaling=None if scaling == "none" else scaling,
        factor=keys.number("rope.scaling.factor") or keys.number("rope.scale_linear"),
        original_context=keys.whole("rope.scaling.original_context_length"),
    )
