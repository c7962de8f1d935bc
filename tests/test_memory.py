"""Memory there is, memory a model takes, and what fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmlab.memory import (
    OWN,
    ContextShape,
    MemoryNeed,
    available_memory,
    estimate,
    host_share,
    host_weights,
    largest_context,
)
from lmlab.worker.load_log import LoadLog

GB = 10**9
MIB = 1024 * 1024
SHAPE = ContextShape(outputs=8, ubatch=512, flash_attention=True, key_type="f16", value_type="f16")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 10 * GB),
        ({"proc/self/cgroup": "nonsense\n"}, 10 * GB),
        # Version 2: its own limit, and what can be given up of what is used.
        (
            {
                "proc/self/cgroup": "0::/job\n",
                "sys/fs/cgroup/job/memory.max": "4000000000\n",
                "sys/fs/cgroup/job/memory.current": "1500000000\n",
                "sys/fs/cgroup/job/memory.stat": "anon 5\ninactive_file 500000000\nactive_file 7\n",
            },
            3 * GB,
        ),
        # The limit of a group above counts, and no limit is none.
        (
            {
                "proc/self/cgroup": "0::/outer/inner\n",
                "sys/fs/cgroup/outer/inner/memory.max": "max\n",
                "sys/fs/cgroup/outer/inner/memory.current": "1000000000\n",
                "sys/fs/cgroup/outer/memory.max": "2000000000\n",
                "sys/fs/cgroup/outer/memory.current": "1000000000\n",
            },
            1 * GB,
        ),
        # In a container the path is the host's, and the limit is at the top of what is mounted.
        (
            {
                "proc/self/cgroup": "0::/../../host/path\n",
                "sys/fs/cgroup/memory.max": "5000000000\n",
                "sys/fs/cgroup/memory.current": "0\n",
            },
            5 * GB,
        ),
        # Version 1.
        (
            {
                "proc/self/cgroup": "5:cpu:/x\n4:cpuset,memory:/job\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3000000000\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "1500000000\n",
                "sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 500000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "7000000000\n",
            },
            2 * GB,
        ),
        # More used than allowed.
        (
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/memory.current": "2000\n",
            },
            0,
        ),
    ],
)
def test_a_cgroup_limits_what_is_available(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    assert available_memory(write(tmp_path, files), lambda: 10 * GB) == expected


def test_this_machine_has_some_memory() -> None:
    assert 10 * MIB < available_memory() < 2**50


def test_layers_on_a_gpu_take_no_main_memory() -> None:
    tensors = {
        "token_embd.weight": 1,
        "blk.0.a": 10,
        "blk.1.a": 100,
        "blk.12.a": 1000,
        "output.weight": 10_000,
        "output_norm.weight": 100_000,
    }
    assert host_weights(tensors, 13, 0) == 111_111
    assert host_weights(tensors, 13, 1) == 1111, "the output goes first"
    assert host_weights(tensors, 13, 2) == 111, "and the last layers after it"
    assert host_weights(tensors, 13, 14) == 1, "token embeddings always stay"
    assert [host_share(13, offloaded) for offloaded in (0, 1, 2, 13, 14, 99)] == [13, 13, 12, 1, 0, 0]


def numbers(**other: int | tuple[int, ...]) -> dict[str, int | tuple[int, ...]]:
    usual = {
        "block_count": 10,
        "embedding_length": 512,
        "feed_forward_length": 1024,
        "attention.head_count": 8,
        "attention.head_count_kv": 2,
    }
    return {f"llama.{key}": value for key, value in (usual | other).items()}


def test_kv_is_reckoned_from_heads_and_types() -> None:
    def kv(shape: ContextShape, offloaded: int = 0, **other: int | tuple[int, ...]) -> int:
        need = estimate("llama", numbers(**other), {}, 1000, 1000, shape, offloaded)
        assert need is not None
        return need.kv

    # 1,024 cells, ten layers, two heads of 64 keys and 64 values in two bytes each.
    assert kv(SHAPE) == 1024 * 10 * 2 * 128 * 2
    assert kv(SHAPE, 4) == 1024 * 7 * 2 * 128 * 2
    quantized = ContextShape(outputs=8, ubatch=512, flash_attention=True, key_type="q8_0", value_type="q4_0")
    assert kv(quantized) == round(1024 * 10 * 2 * 64 * (34 + 18) / 32)
    assert kv(SHAPE, **{"attention.key_length": 96, "attention.value_length": 32}) == 1024 * 10 * 2 * 128 * 2
    assert kv(SHAPE, **{"attention.head_count_kv": (1, *[0] * 9)}) == 1024 * 128 * 2


def test_without_flash_attention_buffers_grow_with_the_heads() -> None:
    plain = ContextShape(outputs=8, ubatch=512, flash_attention=False, key_type="f16", value_type="f16")
    with_it, without = (estimate("llama", numbers(), {}, 1000, 8192, shape, 0) for shape in (SHAPE, plain))
    assert with_it is not None
    assert without is not None
    assert without.compute - with_it.compute >= 512 * 8192 * 8 * 4


@pytest.mark.parametrize("missing", ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"])
def test_a_header_that_does_not_tell_is_not_guessed_at(missing: str) -> None:
    assert estimate("llama", numbers(**{missing: 0}), {}, 1000, 1024, SHAPE, 0) is None
    assert estimate("mamba", numbers() | {"mamba.ssm.state_size": 8}, {}, 1000, 1024, SHAPE, 0) is None
    assert estimate("llama", numbers() | {"llama.attention.indexer.top_k": 8}, {}, 1000, 1024, SHAPE, 0) is None
    grok = {key.replace("llama", "grok"): value for key, value in numbers().items()}
    assert estimate("grok", grok, {}, 1000, 1024, SHAPE, 0) is None


def needs(cell: int, fixed: int = 0) -> tuple[list[int], object]:
    asked: list[int] = []

    def need(context: int) -> MemoryNeed:
        asked.append(context)
        return MemoryNeed(weights=fixed, kv=cell * context, compute=0)

    return asked, need


@pytest.mark.parametrize(
    ("wanted", "room", "fits"),
    [
        (8192, 1000 * 8192, 8192),
        (8192, 1000 * 8192 - 1, 7936),
        (1000, 1000 * 1000, 1000),
        (1000, 1000 * 999, 768),
        (8192, 1000 * 256, 256),
        (8192, 1000 * 256 - 1, 0),
        (100, 1000 * 99, 0),
    ],
)
def test_the_largest_context_that_fits(wanted: int, room: int, fits: int) -> None:
    asked, need = needs(1000)
    found, whole = largest_context(need, wanted, OWN + room)  # type: ignore[arg-type]
    assert found == fits
    assert whole.kv == 1000 * wanted
    assert len(asked) <= 7


def test_a_context_too_large_to_be_measured_is_scaled_up() -> None:
    asked, need = needs(1000, fixed=5)
    found, whole = largest_context(need, 2**31, OWN + 1000 * MIB)  # type: ignore[arg-type]
    assert max(asked) <= (OWN + 1000 * MIB) // 512
    assert found == (1000 * MIB - 5) // 1000 // 256 * 256
    assert whole.kv == pytest.approx(1000 * 2**31, rel=1e-6)
    assert whole.weights == 5


LOG = """\
llama_prepare_model_devices: using device CUDA0 (NVIDIA Something) (0000:01:00.0) - 7000 MiB free
load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
load_tensors: offloaded 20/31 layers to GPU
load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
load_tensors:        CUDA0 model buffer size =   800.00 MiB
llama_context: flash_attn            = auto
llama_context:  CUDA_Host  output buffer size =     1.50 MiB
llama_kv_cache:        CPU KV buffer size =    60.00 MiB
llama_kv_cache:      CUDA0 KV buffer size =   120.00 MiB
llama_kv_cache: size =  180.00 MiB (  8192 cells,  30 layers,  8/1 seqs), K (f16):   90.00 MiB, V (f16):   90.00 MiB
llama_memory_recurrent:        CPU RS buffer size =     2.00 MiB
llama_memory_recurrent: size =    2.00 MiB (     8 cells,   2 layers,  8 seqs  0 rs_seq), R (f32):    1.00 MiB
resolve_fused_ops: Flash Attention not supported, set to disabled
sched_reserve:      CUDA0 compute buffer size =    21.51 MiB
sched_reserve:  CUDA_Host compute buffer size =     8.50 MiB"""


def taken(text: str) -> LoadLog:
    log = LoadLog()
    for line in text.splitlines():
        log.take("info", line)
    return log


def test_what_the_log_says_of_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    log = taken(LOG)
    assert (log.weights, log.kv, log.compute) == (round(92.1 * MIB), 62 * MIB, 10 * MIB)
    assert log.kv_wanted == 182 * MIB
    assert (log.devices, log.gpu_layers, log.mapped, log.flash_attention) == (["NVIDIA Something"], 20, True, False)
    log.forget_sizes()
    assert (log.weights, log.kv, log.kv_wanted, log.compute) == (0, 0, 0, 0)


def test_the_reason_is_the_last_that_says_one() -> None:
    log = LoadLog()
    assert log.reason is None
    log.take("error", "llama_model_load: error loading model: unsupported model architecture: 'gptj'")
    log.take("error", "llama_model_load_from_file_impl: failed to load model")
    assert log.reason == "error loading model: unsupported model architecture: 'gptj'"


def test_a_mac_has_one_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert taken(LOG).weights == round(892.1 * MIB)


@pytest.mark.parametrize(
    ("said", "used"),
    [
        (("flash_attn            = enabled",), True),
        (("flash_attn            = disabled",), False),
        (("flash_attn            = auto", "resolve_fused_ops: Flash Attention enabled"), True),
    ],
)
def test_whether_flash_attention_is_really_used(said: tuple[str, ...], used: bool) -> None:
    assert taken("\n".join(f"llama_context: {line}" for line in said)).flash_attention is used
