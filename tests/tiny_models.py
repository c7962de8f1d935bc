"""Tiny random models that llama.cpp really loads and runs, each written in a fraction of a second.

Their text is nonsense, but deterministic: same arguments, same file, same greedy reply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import gguf
import numpy as np

BLOCKS = 2
CONTEXT = 2048
MEAN, RANK = 1, 4
"""llama.cpp's numbers of pooling types."""
LONG_PIECE = "ab" * 200
"""A token of 400 bytes, longer than any buffer one would guess."""
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Tokenizer = Literal["bpe", "spm", "wpm", "none"]


def write_llama(path: Path, *, tokenizer: Tokenizer = "bpe", seed: int = 0, width: int = 32, **options: object) -> Path:
    """Write a decoder with full attention, of four heads. ``options`` as for ``_Writer``."""
    file = _Writer(path, "llama", tokenizer, seed, options)
    file.attention(width=width, heads=4)
    for block in range(BLOCKS):
        file.norms(block, "attn_norm", "ffn_norm")
        file.decoder_block(block)
    file.head(separate_output=True)
    return file.finish()


def write_sliding_window(path: Path, *, window: int = 16, seed: int = 0, **options: object) -> Path:
    """Write a Gemma 2: every other layer attends to the last ``window`` positions only."""
    file = _Writer(path, "gemma2", "bpe", seed, options)
    file.attention(width=32, heads=4)
    file.add_key("attention.sliding_window", window)
    for block in range(BLOCKS):
        file.norms(block, "attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        file.decoder_block(block)
    file.head(separate_output=False)
    return file.finish()


def write_recurrent(path: Path, *, seed: int = 0, **options: object) -> Path:
    """Write a Mamba: its memory is one state a sequence, which cannot be cut back."""
    file = _Writer(path, "mamba", "bpe", seed, options)
    width, inner, state, rank, kernel = 32, 64, 8, 4, 4
    file.attention(width=width, heads=4)
    for key, value in {"conv_kernel": kernel, "inner_size": inner, "state_size": state, "time_step_rank": rank}.items():
        file.add_key(f"ssm.{key}", value)
    for block in range(BLOCKS):
        file.norms(block, "attn_norm")
        file.add_random(f"blk.{block}.ssm_in.weight", 2 * inner, width)
        file.add_random(f"blk.{block}.ssm_conv1d.weight", inner, kernel, scale=0.5)
        file.add_random(f"blk.{block}.ssm_conv1d.bias", inner)
        file.add_random(f"blk.{block}.ssm_x.weight", rank + 2 * state, inner)
        file.add_random(f"blk.{block}.ssm_dt.weight", inner, rank)
        file.add_random(f"blk.{block}.ssm_dt.bias", inner)
        decay = -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)) / state
        file.add_tensor(f"blk.{block}.ssm_a", decay)
        file.add_random(f"blk.{block}.ssm_d", inner, scale=1.0)
        file.add_random(f"blk.{block}.ssm_out.weight", width, inner)
    file.head(separate_output=True)
    return file.finish()


def write_encoder(path: Path, *, seed: int = 0, **options: object) -> Path:
    """Write a BERT: it makes embeddings and has no memory to generate from."""
    return _encoder(path, seed, options, pooling=MEAN).finish()


def write_reranker(path: Path, *, labels: Sequence[str] = (), seed: int = 0, **options: object) -> Path:
    """Write a BERT with a rank head of two layers, one output a label, or one without a name."""
    file = _encoder(path, seed, options, pooling=RANK)
    file.add_random("cls.weight", 32, 32)
    file.add_random("cls.bias", 32)
    file.add_random("cls.output.weight", max(1, len(labels)), 32)
    file.add_random("cls.output.bias", max(1, len(labels)))
    if labels:
        file.add_key("classifier.output_labels", list(labels))
    return file.finish()


def write_decoder_reranker(
    path: Path,
    *,
    labels: Sequence[str] = ("yes", "no"),
    tokenizer: Tokenizer = "bpe",
    rank_template: str | None = None,
    seed: int = 0,
    **options: object,
) -> Path:
    """Write a Qwen 3 with a rank head, which makes shares of its outputs (softmax)."""
    values: dict[str, object] = dict(options.pop("values", None) or {})  # type: ignore[call-overload]
    if rank_template is not None:
        values |= {"tokenizer.chat_templates": ["rerank"], "tokenizer.chat_template.rerank": rank_template}
    file = _Writer(path, "qwen3", tokenizer, seed, {**options, "values": values})
    file.attention(width=32, heads=4)
    file.add_key("pooling_type", RANK)
    file.add_key("classifier.output_labels", list(labels))
    for block in range(BLOCKS):
        file.norms(block, "attn_norm", "ffn_norm")
        file.decoder_block(block)
        for part in ("attn_q_norm", "attn_k_norm"):
            file.add_tensor(f"blk.{block}.{part}.weight", np.ones(8))
    file.head(separate_output=True)
    file.add_random("cls.output.weight", len(labels), 32)
    return file.finish()


def _encoder(path: Path, seed: int, options: Mapping[str, object], *, pooling: int) -> _Writer:
    file = _Writer(path, "bert", "wpm", seed, options)
    width = 32
    file.attention(width=width, heads=4)
    file.add_key("attention.causal", False)
    file.add_key("pooling_type", pooling)
    file.add_random("token_types.weight", 2, width)
    file.add_random("position_embd.weight", CONTEXT, width)
    file.norm("token_embd_norm", bias=True)
    for block in range(BLOCKS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            file.add_random(f"blk.{block}.{part}.weight", width, width)
            file.add_random(f"blk.{block}.{part}.bias", width)
        file.add_random(f"blk.{block}.ffn_up.weight", 2 * width, width)
        file.add_random(f"blk.{block}.ffn_up.bias", 2 * width)
        file.add_random(f"blk.{block}.ffn_down.weight", width, 2 * width)
        file.add_random(f"blk.{block}.ffn_down.bias", width)
        file.norm(f"blk.{block}.attn_output_norm", bias=True)
        file.norm(f"blk.{block}.layer_output_norm", bias=True)
    return file


def write_tensors(
    path: Path, architecture: str, values: Mapping[str, object], tensors: Mapping[str, np.ndarray], **options: object
) -> Path:
    """Write a model of these tensors, with byte-level BPE and ``values`` for metadata by full key."""
    file = _Writer(path, architecture, "bpe", 0, {**options, "values": values})
    for name, tensor in tensors.items():
        file.add_tensor(name, tensor)
    return file.finish()


def write_lora(path: Path, *, architecture: str = "llama", width: int = 32, rank: int = 4, seed: int = 0) -> Path:
    """Write a LoRA adapter for ``write_llama``'s model: it changes the queries and the way down of every block."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    for block in range(BLOCKS):
        for part, inner, outer in (("attn_q", width, width), ("ffn_down", 2 * width, width)):
            for side, shape in (("a", (rank, inner)), ("b", (outer, rank))):
                values = random.standard_normal(shape, np.float32) * np.float32(0.5)
                writer.add_tensor(f"blk.{block}.{part}.weight.lora_{side}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class _Writer:
    """One file under way.

    ``options``: ``chat_template``, a Jinja2 source; ``values``, more metadata by full key, replacing what is there.
    """

    def __init__(
        self, path: Path, architecture: str, tokenizer: Tokenizer, seed: int, options: Mapping[str, object]
    ) -> None:
        unknown = set(options) - {"chat_template", "values"}
        if unknown:
            raise TypeError(f"unknown options {sorted(unknown)}")
        self._path = path
        self._architecture = architecture
        self._random = np.random.default_rng(seed)
        self._writer = gguf.GGUFWriter(path, architecture)
        self._values: dict[str, object] = {"general.name": "Tiny"}
        self._width = 0
        self._overrides = dict(options.get("values") or {})  # type: ignore[call-overload]
        self._tokens = self._add_tokenizer(tokenizer)
        if template := options.get("chat_template"):
            self._values["tokenizer.chat_template"] = template
        for key, value in {"block_count": BLOCKS, "context_length": CONTEXT}.items():
            self.add_key(key, value)

    def add_key(self, key: str, value: object) -> None:
        self._values[f"{self._architecture}.{key}"] = value

    def add_tensor(self, name: str, values: np.ndarray) -> None:
        self._writer.add_tensor(name, np.ascontiguousarray(values, np.float32))

    def add_random(self, name: str, *shape: int, scale: float | None = None) -> None:
        scale = (2 / shape[-1] ** 0.5 if len(shape) > 1 else 0.1) if scale is None else scale
        self.add_tensor(name, self._random.standard_normal(shape, np.float32) * np.float32(scale))

    def attention(self, *, width: int, heads: int) -> None:
        """Add the keys of attention, and the token embeddings."""
        self._width = width
        self.add_key("embedding_length", width)
        self.add_key("feed_forward_length", 2 * width)
        self.add_key("attention.head_count", heads)
        self.add_key("attention.key_length", width // heads)
        self.add_key("attention.value_length", width // heads)
        self.add_key("attention.layer_norm_rms_epsilon", 1e-5)
        self.add_key("attention.layer_norm_epsilon", 1e-5)
        self._add_token_rows("token_embd.weight", scale=0.2)

    def norm(self, name: str, *, bias: bool = False) -> None:
        self.add_tensor(f"{name}.weight", np.ones(self._width))
        if bias:
            self.add_tensor(f"{name}.bias", np.zeros(self._width))

    def norms(self, block: int, *names: str) -> None:
        for name in names:
            self.norm(f"blk.{block}.{name}")

    def decoder_block(self, block: int) -> None:
        width = self._width
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            self.add_random(f"blk.{block}.{part}.weight", width, width)
        self.add_random(f"blk.{block}.ffn_gate.weight", 2 * width, width)
        self.add_random(f"blk.{block}.ffn_up.weight", 2 * width, width)
        self.add_random(f"blk.{block}.ffn_down.weight", width, 2 * width)

    def head(self, *, separate_output: bool) -> None:
        self.norm("output_norm")
        if separate_output:
            self._add_token_rows("output.weight", scale=0.5)

    def _add_token_rows(self, name: str, *, scale: float) -> None:
        rows = self._random.standard_normal((self._tokens, self._width), np.float32) * np.float32(scale)
        # The last tokens are the control tokens: with logits of 0 among large ones, no greedy reply ends early.
        rows[-3:] = 0
        self.add_tensor(name, rows)

    def finish(self) -> Path:
        for key, value in {**self._values, **self._overrides}.items():
            _add_value(self._writer, key, value)
        self._writer.write_header_to_file()
        self._writer.write_kv_data_to_file()
        self._writer.write_tensors_to_file()
        self._writer.close()
        return self._path

    def _add_tokenizer(self, kind: Tokenizer) -> int:
        """Add the tokenizer's keys; return how many tokens it has."""
        normal, control, byte, unknown = 1, 3, 6, 2
        controls = [TURN_START, TURN_END, "<|endoftext|>"]
        keys: dict[str, object] = {}
        if kind == "none":
            self._values["tokenizer.ggml.model"] = "no_vocab"
            self.add_key("vocab_size", 64)
            return 64
        if kind == "wpm":
            tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁hello", "▁world", "s", "▁a", "▁b"]
            types = [control, unknown, control, control, control] + [normal] * 5
            keys = {"model": "bert", "unknown_token_id": 1, "bos_token_id": 2, "seperator_token_id": 3}
            keys |= {"padding_token_id": 0, "token_type_count": 2}
        elif kind == "spm":
            tokens = ["<unk>", "<s>", "</s>", *(f"<0x{number:02X}>" for number in range(256))]
            types = [unknown, control, control, *([byte] * 256)]
            words = ["▁", "▁hello", "▁world", *"helowrd", "he", "ll", LONG_PIECE]
            tokens += [*words, *controls]
            types += [normal] * len(words) + [control] * len(controls)
            keys = {"model": "llama", "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
            keys["scores"] = [-float(number) for number in range(len(tokens))]
        else:
            merges = ["h e", "l l", "he ll", "hell o", "w o", "r l", "wo rl", "worl d", "Ġ world"]
            words = [merge.replace(" ", "") for merge in merges] + [LONG_PIECE]
            tokens = [*_byte_characters(), *words, *controls]
            types = [normal] * (256 + len(words)) + [control] * len(controls)
            end = tokens.index("<|endoftext|>")
            keys = {"model": "gpt2", "pre": "gpt-2", "merges": merges, "bos_token_id": end, "eos_token_id": end}
        keys |= {"tokens": tokens, "token_type": types}
        self._values |= {f"tokenizer.ggml.{key}": value for key, value in keys.items()}
        return len(tokens)


def _byte_characters() -> list[str]:
    """Return the character that stands for each byte in a byte-level BPE vocabulary, printable bytes as themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [number for number in range(256) if number not in printable]
    return [chr(number) for number in printable] + [chr(256 + index) for index in range(len(others))]


def _add_value(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value) if value >= 0 else writer.add_int32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_string(key, str(value))
