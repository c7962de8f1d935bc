"""From a LoadSpec to a model: what is chosen, what is refused before it is loaded, and what is said of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import write_encoder, write_llama, write_lora, write_recurrent, write_sliding_window

from lmlab.errors import ModelLoadError, UsageError
from lmlab.llama import Library, read_file_header
from lmlab.memory import OWN, MemoryNeed
from lmlab.worker.load_log import LoadLog
from lmlab.worker.loading import Loaded, load
from lmlab.worker.messages import LOOKUP, KvType, Layout, LoadSpec, Lora, Snapshots
from lmlab.worker.planning import Plan, plan

PLENTY = 10**15
MB = 10**6


class Loader:
    """llama.cpp's log goes to whoever loads now: a process has one Library."""

    def __init__(self) -> None:
        self.log = LoadLog()
        self.library = Library(lambda level, line: self.log.take(level, line), lambda message: None)

    def __call__(self, spec: LoadSpec, available: int = PLENTY) -> Loaded:
        self.log = LoadLog()
        return load(spec, self.library, self.log, lambda fraction: None, available=lambda: available)

    def plan(self, spec: LoadSpec, available: int, *, gpu: bool = False) -> Plan:
        self.log = LoadLog()
        return plan(spec, self.log, available, gpu=gpu)


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadSpec:
    path = write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")
    return LoadSpec(str(path), context=512, threads=1, gpu_layers=0)


@pytest.fixture(scope="module")
def broad(tmp_path_factory: pytest.TempPathFactory) -> LoadSpec:
    """A model whose attention heads are as long as a quantized block."""
    path = write_llama(tmp_path_factory.mktemp("models") / "broad.gguf", width=128)
    return LoadSpec(str(path), context=512, threads=1, gpu_layers=0)


def layout(loader: Loader, spec: LoadSpec, available: int = PLENTY) -> Layout:
    return loader(spec, available).info.layout


def test_the_layout_says_what_was_chosen(loader: Loader, broad: LoadSpec) -> None:
    usual = layout(loader, broad)
    assert (usual.sequences, usual.outputs, usual.ubatch) == (8, 8, 512)
    assert (usual.key_type, usual.value_type, usual.flash_attention) == ("f16", "f16", True)
    # Two layers, four heads of 32 keys and 32 values of two bytes, 512 cells.
    assert usual.kv == 2 * 4 * 64 * 2 * 512
    assert usual.available == PLENTY
    quantized = layout(loader, replace(broad, key_type="q8_0", value_type="q8_0"))
    assert (quantized.key_type, quantized.value_type) == ("q8_0", "q8_0")
    assert quantized.kv == pytest.approx(usual.kv * 17 / 32, abs=10_000)
    assert not layout(loader, replace(broad, flash_attention=False)).flash_attention
    assert layout(loader, replace(broad, flash_attention=True)).flash_attention


def test_as_many_tokens_are_computed_at_once_as_asked_for(loader: Loader, tiny: LoadSpec, tmp_path: Path) -> None:
    usual, few = layout(loader, tiny), layout(loader, replace(tiny, ubatch=32))
    assert (usual.ubatch, few.ubatch) == (512, 32)
    assert few.compute < usual.compute, "less is held for fewer tokens"
    assert layout(loader, replace(tiny, ubatch=2048)).ubatch == 512, "a context of 512 tokens holds no more"
    draft = str(write_llama(tmp_path / "draft.gguf", seed=1))
    drafted = layout(loader, replace(tiny, draft=draft)).compute
    assert layout(loader, replace(tiny, draft=draft, ubatch=32)).compute < drafted / 2


def test_more_tokens_computed_at_once_need_more_room(
    loader: Loader, tiny: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    long = replace(tiny, context=2048)

    def roomy(ubatch: int) -> int:
        """Return the least room in which it is loaded as where there is plenty."""
        return next(
            room
            for room in range(2 * OWN, 2 * OWN + 200 * MB, MB // 2)
            if not loader.plan(replace(long, ubatch=ubatch), room).mapped
        )

    assert roomy(16) < roomy(2048)


def test_deterministic_decodes_one_sequence_at_a_time(loader: Loader, tiny: LoadSpec) -> None:
    loaded = loader(replace(tiny, deterministic=True))
    assert (loaded.info.layout.sequences, loaded.info.layout.outputs) == (1, 1)
    assert loaded.info.reuse == "none"
    assert loader(replace(tiny, reuse=False)).info.reuse == "none"
    assert loader(tiny).info.reuse == "full"


def test_drafted_tokens_have_rows_of_logits(loader: Loader, tiny: LoadSpec) -> None:
    loaded = loader(replace(tiny, draft=LOOKUP))
    assert loaded.info.layout.outputs == 8 + 16
    assert loaded.info.draft == LOOKUP


def test_a_draft_model_is_loaded_beside_the_model(loader: Loader, tiny: LoadSpec, tmp_path: Path) -> None:
    draft = write_llama(tmp_path / "draft.gguf", seed=1)
    alone, both = layout(loader, tiny), layout(loader, replace(tiny, draft=str(draft)))
    assert both.weights > 1.9 * alone.weights
    assert both.kv == 2 * alone.kv


def test_a_draft_that_cannot_draft_is_refused(loader: Loader, tiny: LoadSpec, tmp_path: Path) -> None:
    other = write_llama(tmp_path / "other.gguf", tokenizer="spm")
    with pytest.raises(ModelLoadError, match="the draft model cannot draft for this model"):
        loader(replace(tiny, draft=str(other)))
    recurrent = write_recurrent(tmp_path / "recurrent.gguf")
    with pytest.raises(ModelLoadError, match=r"recurrent state, which cannot be cut back.*leave out --draft"):
        loader(replace(tiny, path=str(recurrent), draft=LOOKUP))


def test_lora_scales_are_those_of_the_request_or_else_as_loaded(loader: Loader, tiny: LoadSpec, tmp_path: Path) -> None:
    style = str(write_lora(tmp_path / "style.gguf", rank=32))
    loaded = loader(replace(tiny, lora=(Lora(style, 0.5), Lora(style))))
    assert loaded.scales(None) == (0.5, 1.0)
    assert loaded.scales((0.0, 2.0)) == (0.0, 2.0)
    with pytest.raises(UsageError, match="1 LoRA scales are given for 2 adapters"):
        loaded.scales((1.0,))
    with pytest.raises(UsageError, match="finite"):
        loaded.scales((1.0, float("nan")))
    assert loaded.info.layout.weights > layout(loader, tiny).weights
    with pytest.raises(ModelLoadError, match=r"missing\.gguf was not loaded: No such file"):
        loader(replace(tiny, lora=(Lora(str(tmp_path / "missing.gguf")),)))


def test_a_state_belongs_to_the_model_its_types_and_its_scales(loader: Loader, broad: LoadSpec, tmp_path: Path) -> None:
    kept = replace(broad, snapshots=Snapshots(str(tmp_path / "snapshots"), MB))
    assert loader(kept).snapshots is not None
    for none in (broad, replace(kept, reuse=False), replace(kept, deterministic=True)):
        assert loader(none).snapshots is None
    other = write_llama(tmp_path / "other.gguf", width=128, seed=1)
    style = str(write_lora(tmp_path / "style.gguf", width=128))
    with_style = loader(replace(kept, lora=(Lora(style),)))
    keys = [
        loader(kept).snapshot_key(()),
        loader(replace(kept, path=str(other))).snapshot_key(()),
        loader(replace(kept, key_type="q8_0")).snapshot_key(()),
        loader(replace(kept, flash_attention=False)).snapshot_key(()),
        with_style.snapshot_key((1.0,)),
        with_style.snapshot_key((0.5,)),
    ]
    assert len(set(keys)) == len(keys)
    assert loader(kept).snapshot_key(()) == keys[0]
    assert with_style.snapshot_key((0.0,)) == keys[0], "an adapter that is off leaves no trace"


def test_weights_that_clearly_fit_lie_in_memory_of_their_own(
    loader: Loader, tiny: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = OWN + 4 * MB
    monkeypatch.setattr(sys, "platform", "linux")
    assert not loader.plan(tiny, PLENTY).mapped
    assert loader.plan(tiny, tight).mapped
    assert loader.plan(replace(tiny, gpu_layers=None), PLENTY, gpu=True).mapped
    assert not loader.plan(replace(tiny, gpu_layers=None), PLENTY).mapped
    assert not layout(loader, tiny).mapped
    assert layout(loader, tiny, tight).mapped
    monkeypatch.setattr(sys, "platform", "win32")
    assert loader.plan(tiny, PLENTY).mapped


def test_a_context_that_cannot_fit_is_refused_with_the_numbers(loader: Loader, broad: LoadSpec) -> None:
    # 1 KiB a cell: 100,000 of them are 102 MB, and their mask in the buffers half as much again.
    available = OWN + 60 * MB
    with pytest.raises(ModelLoadError) as refused:
        loader(replace(broad, context=100_000), available)
    said = str(refused.value)
    assert "broad.gguf with a context of 100,000 tokens needs " in said
    assert "KV cache 102 MB" in said
    assert "194 MB are available: use --ctx-size " in said
    assert "--kv-type q8_0" in said
    fits = int(said.split("--ctx-size ")[1].split()[0])
    assert 10_000 < fits < 60_000
    assert fits % 256 == 0
    assert loader.plan(replace(broad, context=fits), available).context == fits
    with pytest.raises(ModelLoadError, match=f"--ctx-size {fits} or less"):
        loader.plan(replace(broad, context=fits + 1), available)


def test_a_quantized_cache_lets_a_larger_context_fit(loader: Loader, broad: LoadSpec) -> None:
    def fits(kind: KvType) -> int:
        spec = replace(broad, context=10**6, key_type=kind, value_type=kind)
        with pytest.raises(ModelLoadError) as refused:
            loader.plan(spec, OWN + 60 * MB)
        assert ("--kv-type q8_0" in str(refused.value)) is (kind == "f16")
        return int(str(refused.value).split("--ctx-size ")[1].split()[0])

    assert fits("q8_0") > 1.2 * fits("f16")


def test_a_context_nobody_asked_for_becomes_as_small_as_must_be(loader: Loader, tmp_path: Path) -> None:
    path = write_llama(tmp_path / "long.gguf", width=128, values={"llama.context_length": 100_000})
    spec = LoadSpec(str(path), threads=1, gpu_layers=0)
    assert loader.plan(spec, PLENTY).context == 8192
    assert loader.plan(replace(spec, context=0), PLENTY).context == 100_000
    short = loader.plan(spec, OWN + 12 * MB).context
    assert 256 <= short < 8192
    assert loader(spec, OWN + 12 * MB).info.context == short
    with pytest.raises(ModelLoadError, match=r"needs .* and .* are available"):
        loader.plan(spec, OWN)


@pytest.mark.parametrize("write", [write_llama, write_sliding_window])
def test_what_is_reckoned_from_the_header_is_enough(
    loader: Loader, tmp_path: Path, write: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "model.gguf")  # type: ignore[operator]
    check_estimate(loader, LoadSpec(str(path), context=2048, threads=1, gpu_layers=0), monkeypatch)


def test_what_is_reckoned_of_smollm2_is_what_it_takes(
    loader: Loader, smollm2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = LoadSpec(str(smollm2), context=4096, threads=1, gpu_layers=0)
    estimated, measured, taken = check_estimate(loader, spec, monkeypatch)
    assert estimated.weights == pytest.approx(taken.weights, rel=0.02)
    assert estimated.kv == taken.kv
    assert measured.weights == estimated.weights
    assert (measured.kv, measured.compute) == (taken.kv, pytest.approx(taken.compute, rel=0.02))


def check_estimate(
    loader: Loader, spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> tuple[MemoryNeed, MemoryNeed, Layout]:
    """Compare what the header says and what llama.cpp measures with what loading takes; return all three."""
    from lmlab import memory

    seen: list[MemoryNeed] = []
    estimate, largest = memory.estimate, memory.largest_context

    def noting_estimate(*arguments: object, **options: object) -> MemoryNeed | None:
        found = estimate(*arguments, **options)  # type: ignore[arg-type]
        seen.extend([found] if found else [])
        return found

    def noting_largest(need: object, wanted: int, available: int) -> tuple[int, MemoryNeed]:
        found = largest(need, wanted, available)  # type: ignore[arg-type]
        seen.append(found[1])
        return found

    monkeypatch.setattr(memory, "estimate", noting_estimate)
    monkeypatch.setattr(memory, "largest_context", noting_largest)
    # Room for it, but not twice: it is both estimated and measured.
    loader.plan(spec, PLENTY)
    loader.plan(spec, seen[0].total + 1)
    estimated, measured = seen[0], seen[-1]
    assert len(seen) == 3
    taken = layout(loader, spec)
    assert estimated.weights >= taken.weights - 10_000
    assert estimated.kv >= taken.kv
    assert estimated.compute >= taken.compute
    return estimated, measured, taken


def test_a_recurrent_model_is_measured(loader: Loader, tmp_path: Path) -> None:
    path = write_recurrent(tmp_path / "model.gguf")
    loaded = loader(LoadSpec(str(path), context=512, threads=1, gpu_layers=0))
    assert loaded.info.layout.kv > 0
    with pytest.raises(ModelLoadError, match="needs "):
        loader.plan(LoadSpec(str(path), context=512, threads=1, gpu_layers=0), OWN // 2)


def test_what_cannot_generate_is_refused(loader: Loader, tmp_path: Path) -> None:
    encoder = LoadSpec(str(write_encoder(tmp_path / "encoder.gguf")), threads=1)
    silent = LoadSpec(str(write_llama(tmp_path / "silent.gguf", tokenizer="none")), threads=1)
    for available in (PLENTY, OWN + 5 * MB):
        with pytest.raises(ModelLoadError, match="encoder"):
            loader(encoder, available)
        with pytest.raises(ModelLoadError, match="has no vocabulary"):
            loader(silent, available)


def test_a_file_that_is_no_model_is_refused_with_what_llama_cpp_said(loader: Loader, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for content in (b"", b"GGUF", b"not a model at all"):
        path.write_bytes(content)
        assert read_file_header(str(path)) is None
        with pytest.raises(ModelLoadError, match=r"could not load .*model\.gguf \(it said: "):
            loader(LoadSpec(str(path), threads=1))
    with pytest.raises(ModelLoadError, match="could not load"):
        loader(LoadSpec(str(tmp_path / "missing.gguf"), threads=1))


def test_the_header_is_read_as_it_stands(tiny: LoadSpec) -> None:
    header = read_file_header(tiny.path)
    assert header is not None
    assert header.architecture == "llama"
    assert (header.numbers["llama.block_count"], header.numbers["llama.embedding_length"]) == (2, 32)
    assert header.lengths["tokenizer.ggml.tokens"] == 269
    assert header.numbers["tokenizer.ggml.token_type"][:3] == (1, 1, 1)  # type: ignore[index]
    assert header.tensors["blk.1.ffn_up.weight"] == 64 * 32 * 4
