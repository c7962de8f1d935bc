"""Architectures that llama.cpp loads and that lmlab refuses: encoders, diffusion models, and what would be wrong."""

from __future__ import annotations

from collections.abc import Mapping

from families import Family
from family_keys import BERT, DIFFUSION, MHA, T5, Values, experts, window

_REFUSED: tuple[tuple[str, str, Values], ...] = (
    ("BERT", "bert", BERT),
    ("ModernBERT", "modern-bert", {**BERT, **window(block_count=3)}),
    ("Nomic BERT", "nomic-bert", BERT),
    ("Nomic BERT MoE", "nomic-bert-moe", {**BERT, **experts(moe_every_n_layers=2)}),
    ("NeoBERT", "neo-bert", BERT),
    ("Jina BERT 2", "jina-bert-v2", {**BERT, "attention.max_alibi_bias": 8.0}),
    ("Jina BERT 3", "jina-bert-v3", BERT),
    ("EuroBERT", "eurobert", BERT),
    ("EmbeddingGemma", "gemma-embedding", {**window(block_count=6), "pooling_type": 1}),
    ("Llama, for embeddings", "llama-embed", {"attention.causal": False, "pooling_type": 1}),
    ("T5, Flan-T5", "t5", T5),
    ("T5, its encoder", "t5encoder", T5),
    ("Dream", "dream", DIFFUSION),
    ("LLaDA", "llada", DIFFUSION),
    ("LLaDA MoE", "llada-moe", {**DIFFUSION, **experts()}),
    ("CogVLM, text", "cogvlm", MHA),
    ("RND1", "rnd1", {**DIFFUSION, **experts()}),
)


REFUSED: Mapping[str, Family] = {name: Family(name, architecture, keys) for name, architecture, keys in _REFUSED}
