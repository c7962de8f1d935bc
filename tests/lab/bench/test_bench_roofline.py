from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from lmlab.backends import Layout, LoadSpec, Lora
from lmlab.lab.bench import roofline
from lmlab.lab.bench.amounts import Key, Step
from lmlab.lab.bench.roofline import array_size, decode_bound
from lmlab.models.header import GgufHeader, read_header
from lmlab.models.kv_size import kv_shape
from lmlab.worker.benching.messages import Opened, Run

SPEC = LoadSpec("model.gguf")
BANDWIDTH = 1e9
LAYOUT = Layout(
    sequences=4,
    outputs=4,
    ubatch=512,
    flash_attention=True,
    key_type="f16",
    value_type="f16",
    mapped=False,
    weights=0,
    kv=0,
    compute=0,
    available=0,
)
OPENED = Opened(
    load_s=0.1,
    context=4096,
    threads=1,
    gpu_layers=0,
    devices=(),
    llama_cpp="0",
    layout=LAYOUT,
    weights_read=1_000_000,
    expert_weights=0,
    experts=0,
    experts_used=0,
)


def step(**run: int) -> Step:
    return Step(Key("decode"), Run(**run), 0, 0)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> GgufHeader:
    return read_header(tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf"))


def kept(header: GgufHeader, tokens: int) -> int:
    shape = kv_shape(header)
    assert shape is not None
    return shape.bytes_for(tokens, "f16")


def test_weights_are_read_once_a_step_and_what_is_kept_once_a_sequence(header: GgufHeader) -> None:
    alone = decode_bound(step(depth=96, decode=8), header, SPEC, OPENED, BANDWIDTH)
    assert alone == pytest.approx(1e9 / (1_000_000 + kept(header, 100)))
    four = decode_bound(step(sequences=4, depth=96, decode=8), header, SPEC, OPENED, BANDWIDTH)
    assert four == pytest.approx(4e9 / (1_000_000 + 4 * kept(header, 100)))


def test_a_window_is_read_no_further_than_it_is_wide(tmp_path: Path) -> None:
    header = read_header(tiny_models.write_sliding_window(tmp_path / "swa.gguf", window=16))
    bound = decode_bound(step(depth=999, decode=2), header, SPEC, OPENED, BANDWIDTH)
    # Every other layer sees 16 tokens only.
    assert bound == pytest.approx(1e9 / (1_000_000 + kept(header, 1000) / 2 + kept(header, 16) / 2))


def test_a_recurrent_model_reads_its_state_however_long_the_text(tmp_path: Path) -> None:
    header = read_header(tiny_models.write_recurrent(tmp_path / "mamba.gguf"))
    shape = kv_shape(header)
    assert shape is not None
    assert shape.state
    for depth in (0, 1000):
        bound = decode_bound(step(depth=depth, decode=2), header, SPEC, OPENED, BANDWIDTH)
        assert bound == pytest.approx(1e9 / (1_000_000 + shape.state))


def test_several_sequences_use_more_experts(header: GgufHeader) -> None:
    # 2 of 8 experts: 600,000 of the 2,400,000 bytes in experts are among what one token reads.
    experts = replace(OPENED, expert_weights=2_400_000, experts=8, experts_used=2)
    one = decode_bound(step(decode=1), header, SPEC, experts, BANDWIDTH)
    assert one == pytest.approx(1e9 / 1_000_000)
    two = decode_bound(step(sequences=2, decode=1), header, SPEC, experts, BANDWIDTH)
    assert two == pytest.approx(2e9 / (400_000 + 2_400_000 * (1 - 0.75**2)))


def test_adapters_are_read_too(header: GgufHeader, tmp_path: Path) -> None:
    (tmp_path / "lora.gguf").write_bytes(bytes(500_000))
    spec = replace(SPEC, lora=(Lora(str(tmp_path / "lora.gguf")), Lora(str(tmp_path / "gone.gguf"))))
    bound = decode_bound(step(decode=1), header, spec, OPENED, BANDWIDTH)
    assert bound == pytest.approx(1e9 / 1_500_000)


@pytest.mark.parametrize("opened", [replace(OPENED, gpu_layers=1), replace(OPENED, weights_read=None)])
def test_there_is_none_where_it_is_not_known_what_is_read(header: GgufHeader, opened: Opened) -> None:
    assert decode_bound(step(decode=1), header, SPEC, opened, BANDWIDTH) is None


def test_reading_a_prompt_has_no_such_bound(header: GgufHeader) -> None:
    assert decode_bound(step(prompt=1), header, SPEC, OPENED, BANDWIDTH) is None


@pytest.mark.parametrize(
    ("caches", "available", "size"),
    [
        ((), 1 << 40, 1 << 28),
        (("1024K", "65536K"), 1 << 40, 1 << 29),
        (("4194304K",), 1 << 40, 1 << 31),
        (("65536K", "nonsense"), 1 << 30, 1 << 28),
    ],
)
def test_what_is_read_is_far_larger_than_the_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: tuple[str, ...], available: int, size: int
) -> None:
    for number, text in enumerate(caches):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{number}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{text}\n")
    monkeypatch.setattr(roofline.memory, "available_memory", lambda: available)
    assert array_size(tmp_path) == size
