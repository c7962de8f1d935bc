"""What headers of tiny models say, in groups that several architectures share. Knows no architecture by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Value: TypeAlias = int | float | bool | str | list[int] | list[float] | list[bool]
Values: TypeAlias = Mapping[str, Value]

WIDTH, HEADS, KV_HEADS, HEAD = 64, 4, 2, 16
BLOCKS = 2
WINDOW = 16


BASE: Values = {
    "block_count": BLOCKS,
    "context_length": 2048,
    "embedding_length": WIDTH,
    "feed_forward_length": 2 * WIDTH,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5,
}


def experts(**more: Value) -> dict[str, Value]:
    return {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 48, **more}


def shared_expert(**more: Value) -> dict[str, Value]:
    return experts(expert_shared_count=1, **more)


def sigmoid_experts(**more: Value) -> dict[str, Value]:
    """As DeepSeek has them: the first block dense, gates apart from each other."""
    gates: dict[str, Value] = {"expert_gating_func": 2, "expert_weights_scale": 1.0, "expert_weights_norm": True}
    return {**shared_expert(leading_dense_block_count=1, **gates), **more}


def window(pattern: Value | None = None, **more: Value) -> dict[str, Value]:
    said = {} if pattern is None else {"attention.sliding_window_pattern": pattern}
    return {"attention.sliding_window": WINDOW, **said, **more}


MHA: Values = {"attention.head_count_kv": HEADS}
MQA: Values = {"attention.head_count_kv": 1}
SECTIONS: Values = {"rope.dimension_sections": [4, 2, 2, 0]}
SSM: Values = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 2 * WIDTH,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 2,
}
DELTA: Values = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 64,
    "ssm.state_size": 16,
    "ssm.time_step_rank": 4,
    "ssm.group_count": 2,
    "full_attention_interval": 2,
}
SECOND_ATTENDS: Values = {"attention.head_count_kv": [0, KV_HEADS]}
MLA: Values = {
    "attention.head_count_kv": 1,
    "attention.q_lora_rank": 32,
    "attention.kv_lora_rank": 32,
    "attention.key_length": 40,
    "attention.value_length": 32,
    "attention.key_length_mla": 24,
    "attention.value_length_mla": 16,
    "rope.dimension_count": 8,
}
# All tokens are chosen: of two that score nearly alike, rounding would choose.
INDEXER: Values = {
    "attention.indexer.head_count": 4,
    "attention.indexer.key_length": 128,
    "attention.indexer.top_k": 4096,
}
HYPER: Values = {
    "hyper_connection.count": 4,
    "hyper_connection.sinkhorn_iterations": 2,
    "hyper_connection.epsilon": 1e-6,
}
KDA: Values = {"ssm.conv_kernel": 4, "kda.head_dim": 16}
RWKV6: Values = {"wkv.head_size": 16, "time_mix_extra_dim": 8, "time_decay_extra_dim": 8, "rescale_every_n_layers": 0}
RWKV7: Values = {
    "embedding_length": 128,
    # The kernel takes as many at a time.
    "wkv.head_size": 64,
    "attention.decay_lora_rank": 8,
    "attention.iclr_lora_rank": 8,
    "attention.value_residual_mix_lora_rank": 8,
    "attention.gate_lora_rank": 8,
}
NO_HEADS: Values = {"attention.head_count": 0, "attention.head_count_kv": 0}
GRANITE: Values = {"logit_scale": 1.0, "residual_scale": 0.22, "embedding_scale": 12.0, "attention.scale": 0.0625}

BERT: Values = {**MHA, "attention.causal": False, "pooling_type": 1, ".tokenizer.ggml.token_type_count": 2}
T5: Values = {**MHA, "attention.relative_buckets_count": 8, "decoder_start_token_id": 0}
DIFFUSION: Values = {"attention.causal": False}
