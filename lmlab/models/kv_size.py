"""What a model keeps of the text it has read: bytes a token, and bytes a sequence, reckoned from its header.

Follows llama_kv_cache, llama_memory_recurrent and llama_model::create_memory, with sliding-window layers kept whole as
lmlab's worker keeps them. Knows nothing of how much memory there is.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass

from lmlab.models.ggml_types import TENSOR_TYPES
from lmlab.models.header import GgufHeader
from lmlab.models.hyperparameters import Hyperparameters, Keys, PerLayer, hyperparameters
from lmlab.worker.messages import KvType

KV_TYPES: tuple[KvType, ...] = typing.get_args(KvType)

_ENCODERS = {
    *("bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert"),
    *("gemma-embedding", "wavtokenizer-dec", "dream", "llada", "llada-moe", "rnd1"),
}
_RECURRENT = {"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"}
_BOTH_IN_EVERY_LAYER = {"falcon-h1"}
_COMPRESSING = {"deepseek4", "glm5-next"}
"""Keep several caches, each of its own rate."""
_SWITCHING = {"graniteswitch"}
"""Have one more layer, of one head, that chooses among adapters."""
_INTERVALS = {"minimax-01": 8}
"""Of so many layers in a row one attends, where the file does not say."""
_GEMMA_3N_KEEPING = 20
_FLOAT = 4


@dataclass(frozen=True, slots=True)
class KvShape:
    """``keys`` and ``values`` are the numbers kept of each token, all layers together.

    ``state`` is what each sequence takes however long it is, in bytes: that of recurrent layers, 0 without any, and
    None where it is not known here.
    """

    keys: int
    values: int
    state: int | None

    def bytes_for(self, tokens: int, key_type: KvType, value_type: KvType | None = None) -> int:
        """Return the bytes that ``tokens`` tokens take."""
        a_token = self.keys * _bytes_each(key_type) + self.values * _bytes_each(value_type or key_type)
        return round(tokens * a_token)


def is_encoder(header: GgufHeader) -> bool:
    """Return whether the model is known to read its text as a whole: it generates none, token by token."""
    return header.architecture in _ENCODERS


def kv_shape(header: GgufHeader) -> KvShape | None:
    """Return what the model keeps of its text; None when its header does not tell."""
    if is_encoder(header):
        return KvShape(0, 0, 0)
    layers = header.block_count
    if not layers or layers > 1 << 16 or header.architecture in _COMPRESSING:
        return None
    keys, known = Keys(header), hyperparameters(header)
    recurrent = set(_recurrent_layers(header.architecture, keys, known.kv_heads, layers))
    attending = [] if header.architecture in _RECURRENT else _attending(header.architecture, keys, layers, recurrent)
    windowed = keys.flags("attention.sliding_window_pattern") or ()
    key_size, value_size = known.head_size or 0, known.value_size or 0
    window_key = keys.whole("attention.key_length_swa") or key_size
    window_value = keys.whole("attention.value_length_swa") or value_size
    # Multi-head latent attention keeps one compressed row that serves as both.
    compressed = keys.whole("attention.key_length_mla") and keys.whole("attention.value_length_mla")
    kept_keys = kept_values = 0
    for layer in attending:
        heads = _at(known.kv_heads, layer)
        narrow = layer < len(windowed) and bool(windowed[layer])
        kept_keys += heads * (window_key if narrow else key_size)
        kept_values += 0 if compressed else heads * (window_value if narrow else value_size)
    if attending and not kept_keys:
        return None
    if header.architecture in _SWITCHING:
        kept_keys, kept_values = kept_keys + key_size, kept_values + value_size
    kept_keys += _indexer_keys(header.architecture, keys, attending)
    return KvShape(kept_keys, kept_values, _state(header, keys, known, len(recurrent)))


def _bytes_each(kind: KvType) -> float:
    return _BYTES[kind.upper()]


_BYTES = {kind.name: kind.block_bytes / kind.block_elements for kind in TENSOR_TYPES.values()}


def _recurrent_layers(architecture: str, keys: Keys, kv_heads: PerLayer | None, layers: int) -> Iterator[int]:
    marked = keys.flags("attention.recurrent_layers")
    interval = keys.whole("full_attention_interval") or _INTERVALS.get(architecture)
    trunk = layers - (keys.whole("nextn_predict_layers") or 0)
    has_state = any(keys.whole(key) for key in ("ssm.state_size", "shortconv.l_cache", "kda.head_dim"))
    feed_forward = keys.per_layer("feed_forward_length")
    for layer in range(trunk):
        if architecture in _RECURRENT | _BOTH_IN_EVERY_LAYER:
            recurrent = True
        elif marked is not None:
            recurrent = layer < len(marked) and bool(marked[layer])
        elif interval:
            recurrent = (layer + 1) % interval != 0
        else:
            # Of such hybrids a layer without KV heads has a state; some of Nemotron's have neither.
            only_feed_forward = architecture.startswith("nemotron_h") and _at(feed_forward, layer) > 0
            recurrent = has_state and isinstance(kv_heads, tuple) and not _at(kv_heads, layer) and not only_feed_forward
        if recurrent:
            yield layer


def _attending(architecture: str, keys: Keys, layers: int, recurrent: set[int]) -> list[int]:
    # Later layers of some models look at what earlier ones keep.
    keeping = layers - (keys.whole("nextn_predict_layers") or 0) - (keys.whole("attention.shared_kv_layers") or 0)
    if architecture == "gemma3n":
        keeping = min(layers, _GEMMA_3N_KEEPING)
    if architecture in _BOTH_IN_EVERY_LAYER:
        return list(range(keeping))
    return [layer for layer in range(keeping) if layer not in recurrent]


def _indexer_keys(architecture: str, keys: Keys, attending: list[int]) -> int:
    """Return the numbers kept of each token to choose by which earlier ones are attended to."""
    size = keys.whole("attention.indexer.key_length")
    if not size or not keys.whole("attention.indexer.top_k"):
        return 0
    # The others choose what the layer before them chose.
    owning = keys.flags("attention.indexer.types")
    first = keys.whole("leading_dense_block_count") or 0 if architecture == "minimax-m3" else 0
    layers = [layer for layer in attending if layer >= first]
    return size * sum(1 for layer in layers if owning is None or (layer < len(owning) and bool(owning[layer])))


def _state(header: GgufHeader, keys: Keys, known: Hyperparameters, layers: int) -> int | None:
    if not layers:
        return 0
    width = header.embedding_length or 0
    if head := keys.whole("wkv.head_size"):
        shifts = keys.whole("token_shift_count")
        return layers * _FLOAT * width * ((2 if shifts is None else shifts) + head)
    if kernel := keys.whole("shortconv.l_cache"):
        return layers * _FLOAT * width * (kernel - 1)
    heads = _at(known.heads, 0)
    if header.architecture == "minimax-01":
        return layers * _FLOAT * heads * (known.head_size or 0) ** 2
    if head := keys.whole("kda.head_dim"):
        kernel = keys.whole("ssm.conv_kernel")
        # Queries, keys and values each pass a convolution.
        return layers * _FLOAT * heads * head * (3 * (kernel - 1) + head) if kernel else None
    kernel, inner, state = (keys.whole(f"ssm.{key}") for key in ("conv_kernel", "inner_size", "state_size"))
    if not kernel or not inner or not state:
        return None
    convolved = (kernel - 1) * (inner + 2 * (keys.whole("ssm.group_count") or 0) * state)
    return layers * _FLOAT * (convolved + state * inner)


def _at(values: PerLayer | None, layer: int) -> int:
    if isinstance(values, tuple):
        return values[layer] if layer < len(values) else 0
    return values or 0
