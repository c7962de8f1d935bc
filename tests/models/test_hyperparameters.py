"""What a header says of a model's shape, and the memory that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_gguf import write_gguf
from tiny_models import write_encoder, write_llama, write_recurrent, write_sliding_window

from lmlab.backends import LoadSpec
from lmlab.backends.local import LocalBackend
from lmlab.models import read_header
from lmlab.models.hyperparameters import Rope, hyperparameters
from lmlab.models.kv_size import KV_TYPES, KvShape, kv_shape
from lmlab.models.memory_need import memory_needs
from lmlab.worker.messages import KvType, ModelInfo

CELLS = 1024


def loaded(path: Path, logs: Path, kind: KvType = "f16") -> ModelInfo:
    """Return what the worker says of the model with a context of CELLS tokens."""
    spec = LoadSpec(str(path), context=CELLS, gpu_layers=0, threads=1, key_type=kind, value_type=kind)
    backend = LocalBackend(spec, lambda status: None, log_folder=logs)
    try:
        return backend.wait_ready()
    finally:
        backend.close()


def test_smollm2_is_as_published(smollm2: Path) -> None:
    """https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json"""
    shape = hyperparameters(read_header(smollm2))

    assert (shape.parameters, shape.vocabulary, shape.layers, shape.embedding) == (134_515_008, 49_152, 30, 576)
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.feed_forward) == (9, 3, 64, 1536)
    assert (shape.context, shape.sliding_window, shape.experts) == (8192, None, None)
    assert shape.rope == Rope(100_000.0, None, 64, None, None, None)
    assert shape.tokenizer == "gpt2/smollm"


def test_gemma_3_270m_is_as_published(gemma3: Path) -> None:
    """https://huggingface.co/google/gemma-3-270m/blob/main/config.json"""
    shape = hyperparameters(read_header(gemma3))

    assert (shape.parameters, shape.vocabulary, shape.layers, shape.embedding) == (268_098_176, 262_144, 18, 640)
    assert (shape.heads, shape.kv_heads, shape.head_size, shape.value_size, shape.feed_forward) == (
        4,
        1,
        256,
        256,
        2048,
    )
    assert (shape.context, shape.sliding_window, shape.windowed_layers) == (32_768, 512, 15)
    # The file leaves out the base of the windowed layers.
    assert (shape.rope.base, shape.rope.base_window) == (1_000_000.0, 10_000.0)
    assert shape.tokenizer == "llama"


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_the_kv_cache_of_the_real_models_takes_what_was_reckoned(
    smollm2: Path, gemma3: Path, tmp_path: Path, kind: KvType
) -> None:
    for path in (smollm2, gemma3):
        info = loaded(path, tmp_path, kind)
        shape = kv_shape(read_header(path))
        assert shape is not None
        # llama.cpp says it in hundredths of a MiB.
        assert info.layout.kv == pytest.approx(shape.bytes_for(info.context, kind), abs=3 * 2**20 // 100)


@pytest.mark.parametrize("write", [write_llama, write_sliding_window])
def test_the_kv_cache_of_tiny_models_takes_what_was_reckoned(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "tiny.gguf")
    info = loaded(path, tmp_path)
    shape = kv_shape(read_header(path))
    assert shape is not None
    assert shape.state == 0
    assert info.layout.kv == pytest.approx(shape.bytes_for(info.context, "f16"), abs=2 * 2**20 // 100)


def test_a_recurrent_model_keeps_a_state_for_each_sequence(tmp_path: Path) -> None:
    # Large enough to be seen in what llama.cpp says in hundredths of a MiB.
    path = write_recurrent(tmp_path / "tiny.gguf")
    header = read_header(path)
    shape = kv_shape(header)
    # Two layers; a convolution of 4 looks back 3; inner size 64, state 8, in f32.
    assert shape == KvShape(0, 0, 2 * 4 * (3 * 64 + 64 * 8))
    info = loaded(path, tmp_path)
    held = info.layout.sequences + 4  # idle states are kept for reuse
    assert info.layout.kv == pytest.approx(held * (shape.state or 0), abs=2 * 2**20 // 100)


def test_an_encoder_keeps_nothing(tmp_path: Path) -> None:
    assert kv_shape(read_header(write_encoder(tmp_path / "bert.gguf"))) == KvShape(0, 0, 0)


BASE = {
    "attention.head_count": 8,
    "attention.head_count_kv": 4,
    "attention.key_length": 16,
    "attention.value_length": 8,
}


def shape_of(tmp_path: Path, architecture: str, layers: int, **values: object) -> KvShape | None:
    keys = {f"{architecture}.{name.replace('__', '.')}": value for name, value in {**BASE, **values}.items()}
    path = write_gguf(
        tmp_path / "m.gguf", architecture=architecture, values={**keys, f"{architecture}.block_count": layers}
    )
    return kv_shape(read_header(path))


SSM = {"ssm__conv_kernel": 4, "ssm__inner_size": 64, "ssm__state_size": 8, "ssm__group_count": 2}
INDEXER = {"attention__indexer__key_length": 24, "attention__indexer__top_k": 8}
SSM_STATE = 4 * (3 * (64 + 2 * 2 * 8) + 64 * 8)


@pytest.mark.parametrize(
    ("architecture", "layers", "values", "expected"),
    [
        ("llama", 6, {}, KvShape(6 * 64, 6 * 32, 0)),
        # Every fourth layer attends, the last of four.
        ("qwen35", 8, {"full_attention_interval": 4, **SSM}, KvShape(2 * 64, 2 * 32, 6 * SSM_STATE)),
        # Layers without KV heads have a state.
        ("jamba", 4, {"attention__head_count_kv": [0, 4, 0, 0], **SSM}, KvShape(64, 32, 3 * SSM_STATE)),
        (
            "lfm2",
            4,
            {"attention__head_count_kv": [0, 4, 0, 4], "shortconv__l_cache": 3},
            KvShape(128, 64, 2 * 4 * 32 * 2),
        ),
        ("falcon-h1", 4, SSM, KvShape(4 * 64, 4 * 32, 4 * SSM_STATE)),
        ("rwkv7", 3, {"wkv__head_size": 16, "token_shift_count": 2}, KvShape(0, 0, 3 * 4 * 32 * (2 + 16))),
        # One compressed row for keys and values.
        (
            "deepseek2",
            3,
            {
                "attention__head_count_kv": 1,
                "attention__key_length": 576,
                "attention__value_length": 512,
                "attention__key_length_mla": 192,
                "attention__value_length_mla": 128,
            },
            KvShape(3 * 576, 0, 0),
        ),
        # Later layers look at what earlier ones keep.
        ("gemma3n", 30, {}, KvShape(20 * 64, 20 * 32, 0)),
        (
            "gemma4",
            4,
            {
                "attention__shared_kv_layers": 2,
                "attention__sliding_window_pattern": [True, False, True, False],
                "attention__key_length_swa": 4,
                "attention__value_length_swa": 2,
            },
            KvShape(4 * 4 + 64, 4 * 2 + 32, 0),
        ),
        # A layer that only drafts keeps nothing of the text.
        ("glm4moe", 5, {"nextn_predict_layers": 1}, KvShape(4 * 64, 4 * 32, 0)),
        ("kimi-linear", 2, {"attention__head_count_kv": [0, 4], "kda__head_dim": 16}, KvShape(64, 32, None)),
        # Three convolutions that look back 3, and a square for each of 8 heads, in f32.
        (
            "kimi-linear",
            2,
            {"attention__head_count_kv": [0, 4], "kda__head_dim": 16, "ssm__conv_kernel": 4},
            KvShape(64, 32, 4 * 8 * 16 * (3 * 3 + 16)),
        ),
        # One layer of eight attends, where the file does not say.
        ("minimax-01", 8, {}, KvShape(64, 32, 7 * 4 * 8 * 16 * 16)),
        # What is kept to choose tokens by: of every layer, of those that choose for themselves, of those with experts.
        ("deepseek32", 2, INDEXER, KvShape(2 * (64 + 24), 2 * 32, 0)),
        ("hy_v4", 2, {**INDEXER, "attention__indexer__types": [1, 0]}, KvShape(2 * 64 + 24, 2 * 32, 0)),
        ("minimax-m3", 3, {**INDEXER, "leading_dense_block_count": 1}, KvShape(3 * 64 + 2 * 24, 3 * 32, 0)),
        ("deepseek4", 2, INDEXER, None),
        # A layer more, of one head.
        ("graniteswitch", 2, {}, KvShape(2 * 64 + 16, 2 * 32 + 8, 0)),
        ("llama", 2, {"attention__head_count": 0, "attention__head_count_kv": 0}, None),
        ("llama", 2**31 - 1, {}, None),
    ],
)
def test_kinds_of_memory(
    tmp_path: Path, architecture: str, layers: int, values: dict[str, object], expected: KvShape | None
) -> None:
    assert shape_of(tmp_path, architecture, layers, **values) == expected


def test_every_kv_type_has_its_size() -> None:
    sizes = {kind: KvShape(32, 32, 0).bytes_for(1000, kind) for kind in KV_TYPES}

    assert sizes["f32"] == 256_000
    assert sizes["f16"] == sizes["bf16"] == 128_000
    assert sizes["q8_0"] == 68_000
    assert sizes["q4_0"] == sizes["iq4_nl"] == 36_000
    assert KvShape(32, 32, 0).bytes_for(1000, "q8_0", "f16") == 34_000 + 64_000


def test_experts_windows_and_stretched_rope_are_read(tmp_path: Path) -> None:
    values = {
        "gpt-oss.attention.head_count": 64,
        "gpt-oss.attention.head_count_kv": [8, 8],
        "gpt-oss.feed_forward_length": [64, 128],
        "gpt-oss.expert_count": 32,
        "gpt-oss.expert_used_count": 4,
        "gpt-oss.expert_shared_count": 1,
        "gpt-oss.expert_feed_forward_length": 2880,
        "gpt-oss.attention.sliding_window": 128,
        "gpt-oss.attention.sliding_window_pattern": [True, False],
        "gpt-oss.rope.freq_base": 150000.0,
        "gpt-oss.rope.scaling.type": "yarn",
        "gpt-oss.rope.scaling.factor": 32.0,
        "gpt-oss.rope.scaling.original_context_length": 4096,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-4o",
    }

    shape = hyperparameters(read_header(write_gguf(tmp_path / "m.gguf", architecture="gpt-oss", values=values)))

    assert (shape.experts, shape.experts_used, shape.experts_shared, shape.expert_feed_forward) == (32, 4, 1, 2880)
    assert (shape.kv_heads, shape.feed_forward) == (8, (64, 128))
    assert (shape.sliding_window, shape.windowed_layers) == (128, 1)
    assert shape.rope == Rope(150_000.0, None, None, "yarn", 32.0, 4096)
    assert shape.tokenizer == "gpt2/gpt-4o"
    assert shape.to_dict()["feed_forward"] == [64, 128]


@pytest.mark.parametrize(
    ("architecture", "layers", "more", "windowed"),
    [
        ("gemma2", 26, {}, 13),
        ("gemma3", 26, {}, 22),
        ("gemma3", 26, {"pattern": 2}, 13),
        ("smallthinker", 5, {}, 3),
        ("laguna", 5, {}, 3),
        ("llama4", 48, {}, 36),
        # llama.cpp attends to everything in these, whatever the file says.
        ("phi3", 32, {}, 0),
        ("llama", 32, {}, None),
    ],
)
def test_how_many_layers_have_a_window(
    tmp_path: Path, architecture: str, layers: int, more: dict[str, int], windowed: int | None
) -> None:
    values = {f"{architecture}.block_count": layers, f"{architecture}.attention.sliding_window": 512}
    values |= {f"{architecture}.attention.sliding_window_{name}": value for name, value in more.items()}

    header = read_header(write_gguf(tmp_path / "m.gguf", architecture=architecture, values=values))

    assert hyperparameters(header).windowed_layers == windowed


@pytest.mark.parametrize(
    ("architecture", "said", "window"),
    [
        ("llama4", None, 8192),
        ("llama4", 0, None),
        ("llama4", 512, 8192),
        ("smallthinker", None, None),
        ("smallthinker", 512, 4096),
        ("gemma2", 512, 512),
    ],
)
def test_some_windows_are_what_llama_cpp_says(
    tmp_path: Path, architecture: str, said: int | None, window: int | None
) -> None:
    values = {} if said is None else {f"{architecture}.attention.sliding_window": said}
    header = read_header(write_gguf(tmp_path / "m.gguf", architecture=architecture, values=values))

    assert hyperparameters(header).sliding_window == window


def test_what_is_needed_grows_with_the_context(smollm2: Path, tmp_path: Path) -> None:
    needs = memory_needs(read_header(smollm2))

    assert needs.context == 8192
    assert (needs.fit(needs.usual), needs.fit(needs.usual - 1)) == ("yes", "short")
    assert (needs.fit(needs.least), needs.fit(needs.least - 1)) == ("short", "no")
    assert needs.usual - needs.least > 0.9 * 23_040_000 * (8.192 - 0.256)


def test_the_arrays_that_are_kept_stay_few(tmp_path: Path) -> None:
    values = {f"llama.array{number}": list(range(4000)) for number in range(30)} | {"llama.long": list(range(5000))}

    header = read_header(write_gguf(tmp_path / "m.gguf", values=values))

    assert header.lengths["llama.long"] == 5000
    assert "llama.long" not in header.arrays
    assert 0 < sum(map(len, header.arrays.values())) <= 1 << 16
    assert header.lengths["llama.array29"] == 4000
