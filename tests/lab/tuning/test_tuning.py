"""Tuning from end to end, with speeds that are made up: what is measured, varied and found, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmlab.errors import ModelLoadError
from lmlab.lab.bench import Speed, spread_of
from lmlab.lab.tuning import keeping
from lmlab.lab.tuning import tune as tuning
from lmlab.lab.tuning.dimensions import PROBE, Workload, dimensions, thread_counts, workload
from lmlab.lab.tuning.rule import ROUNDS, Rates
from lmlab.lab.tuning.settings import Settings
from lmlab.lab.tuning.tune import Tuning, Wanted, tune
from lmlab.worker.messages import LoadSpec

BASE = LoadSpec("model.gguf")
SIZE = Workload(512, 64, 256)


class FakeSpeed:
    """``measure_speed`` for a made-up machine: a reply at ``decode(spec)`` tokens per second, a prompt at ``prefill(spec)``."""

    def __init__(self, prefill: Callable[[LoadSpec], float], decode: Callable[[LoadSpec], float]) -> None:
        self._prefill = prefill
        self._decode = decode
        self.now = 0.0
        self.asked: list[dict[str, Any]] = []
        self.specs: list[LoadSpec] = []
        self.cancel_after: int | None = None

    def __call__(self, spec: LoadSpec, *, cancelled: Callable[[], bool], **asked: Any) -> Speed | None:
        self.specs.append(spec)
        self.asked.append(asked)
        if cancelled():
            return None
        prefill, decode = self._prefill(spec), self._decode(spec)
        self.now += 0.5 + asked["prompt"] / prefill + asked["decode"] / decode
        return Speed(spread_of([prefill]), spread_of([decode]), 0.5, 10**6)

    def cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.specs) > self.cancel_after

    def tune(self, wanted: Wanted, physical: int = 2) -> Tuning | None:
        return tune(
            wanted,
            log_folder=Path("logs"),
            listener=lambda step: None,
            watch=lambda what, fraction: None,
            cancelled=self.cancelled,
            measure=self,
            physical=physical,
            clock=lambda: self.now,
        )


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "logical_processors", lambda: 4)


def wanted(**other: Any) -> Wanted:
    usual = Wanted(base=BASE, objective="mixed", seconds=1e6, context=2**20)
    return replace(usual, **other)


def test_what_is_faster_is_found() -> None:
    machine = FakeSpeed(
        prefill=lambda spec: 1000 * (1.5 if spec.ubatch == 1024 else 1) * (1.2 if spec.threads == 3 else 1),
        decode=lambda spec: 100 * (1.2 if spec.threads == 3 else 1),
    )
    found = machine.tune(wanted())
    assert found is not None
    assert found.settings == Settings(threads=3, ubatch=1024)
    assert found.found.gain is not None
    assert len(found.found.gain.rounds) == ROUNDS
    assert found.found.gain.low > 0.2
    assert [step.name for step in found.found.steps] == ["threads", "flash attention", "ubatch", "all together"]
    assert found.found.before == Rates(1000, 100)


def test_nothing_is_found_where_all_are_alike() -> None:
    found = FakeSpeed(lambda spec: 1000, lambda spec: 100).tune(wanted(allowed=frozenset(["kv"])))
    assert found is not None
    assert found.settings == Settings()
    assert found.found.gain is None
    assert {step.name: step.kept for step in found.found.steps} == {
        "threads": None,
        "KV cache": None,
        "flash attention": None,
        "ubatch": None,
    }


@pytest.mark.parametrize("seconds", [30, 100, 300])
def test_measurements_grow_where_there_is_time_and_only_between_dimensions(seconds: float) -> None:
    machine = FakeSpeed(lambda spec: 400, lambda spec: 50)
    found = machine.tune(wanted(seconds=seconds))
    assert found is not None
    first, *others = [(one["prompt"], one["decode"], one["depth"]) for one in machine.asked]
    assert first == (PROBE.prompt, PROBE.decode, PROBE.depth)
    assert others == sorted(others)
    assert others[-1] == (found.workload.prompt, found.workload.decode, found.workload.depth)
    # Three dimensions: threads, flash attention, ubatch.
    assert len(set(others)) <= 3
    assert machine.now <= seconds


def test_more_time_measures_more() -> None:
    sizes = []
    for seconds in (20, 100, 1000):
        found = FakeSpeed(lambda spec: 400, lambda spec: 50).tune(wanted(seconds=seconds))
        assert found is not None
        sizes.append(found.workload.prompt)
    assert sizes == sorted(set(sizes))


def test_other_weights_are_tried_first_and_the_rest_with_them() -> None:
    files = {"Q4_0": Path("q4.gguf"), "Q8_0": Path("q8.gguf")}
    machine = FakeSpeed(
        lambda spec: 1000,
        lambda spec: (200 if spec.path == "q4.gguf" else 100) * (1.5 if spec.threads == 4 else 1),
    )
    found = machine.tune(wanted(objective="decode", weights=files, quantization="F16"))
    assert found is not None
    assert found.found.spec == replace(BASE, path="q4.gguf", threads=4)
    assert found.settings == Settings(threads=4)
    assert (found.steps[0].usual, found.steps[0].kept) == ("F16", "Q4_0")
    assert found.weights is not None
    assert found.weights.gain is not None
    assert found.found.gain is not None
    assert found.weights.gain.median == pytest.approx(1.0)
    assert found.found.gain.median == pytest.approx(0.5), "that of the settings alone"


def test_cancelling_finds_nothing() -> None:
    machine = FakeSpeed(lambda spec: 1000, lambda spec: 100)
    machine.cancel_after = 5
    assert machine.tune(wanted()) is None
    assert len(machine.specs) == 6


def test_a_model_that_does_not_load_is_an_error() -> None:
    def refuse(spec: LoadSpec) -> float:
        raise ModelLoadError("it is broken")

    with pytest.raises(ModelLoadError, match="it is broken"):
        FakeSpeed(refuse, refuse).tune(wanted())


# What may be varied


def varied(base: LoadSpec = BASE, *, size: Workload = SIZE, **other: Any) -> dict[str, list[str]]:
    usual: dict[str, Any] = {"objective": "mixed", "allowed": frozenset(), "kv_said": False}
    found = dimensions(base, logical=4, physical=2, size=lambda: size, **(usual | other))
    return {dimension.name: list(dimension.vary(base)) for dimension in found}


def test_what_changes_replies_is_varied_only_where_that_is_allowed() -> None:
    assert varied() == {"threads": ["1", "3", "4"], "flash attention": ["off"], "ubatch": ["128", "256"]}
    assert varied(allowed=frozenset(["kv"]))["KV cache"] == ["q8_0", "q4_0"]
    assert "KV cache" not in varied(allowed=frozenset(["weights"]))


def test_what_was_said_is_not_varied() -> None:
    assert list(varied(replace(BASE, threads=2))) == ["flash attention", "ubatch"]
    assert list(varied(replace(BASE, flash_attention=True))) == ["threads", "ubatch"]
    assert list(varied(replace(BASE, ubatch=64))) == ["threads", "flash attention"]
    assert "KV cache" not in varied(allowed=frozenset(["kv"]), kv_said=True)


def test_a_quantized_v_cache_and_flash_attention_are_not_parted() -> None:
    quantized = replace(BASE, key_type="q8_0", value_type="q8_0")
    assert varied(quantized)["flash attention"] == []
    assert varied(replace(BASE, flash_attention=False), allowed=frozenset(["kv"]))["KV cache"] == []


def test_only_batches_that_differ_for_this_prompt_are_tried() -> None:
    assert varied(size=Workload(2048, 64, 0))["ubatch"] == ["128", "256", "1024", "2048"]
    assert varied(size=Workload(1024, 64, 0))["ubatch"] == ["128", "256", "1024"]
    assert varied(size=Workload(256, 64, 0))["ubatch"] == ["128"]
    assert varied(size=Workload(128, 64, 0))["ubatch"] == []
    assert "ubatch" not in varied(objective="decode"), "one token at a time fills no batch"


@pytest.mark.parametrize(
    ("logical", "physical", "counts"),
    [(1, 1, [1]), (4, 2, [1, 2, 3, 4]), (8, 4, [1, 2, 3, 4, 6, 8]), (32, 16, [4, 8, 12, 16, 24, 32])],
)
def test_few_counts_of_threads_stand_for_all(logical: int, physical: int, counts: list[int]) -> None:
    assert thread_counts(logical, physical) == counts


def test_a_measurement_is_as_large_as_its_time_allows() -> None:
    fast, slow = Rates(10_000, 500), Rates(20, 3)
    usual: dict[str, Any] = {"objective": "mixed", "context": 2**20}
    assert workload(fast, 0.3, seconds=3, **usual).prompt == 2048
    assert workload(slow, 0.3, seconds=3, **usual).prompt == 64
    for seconds in (1.0, 3.0, 10.0):
        size = workload(Rates(400, 50), 0.3, seconds=seconds, **usual)
        assert size.seconds(Rates(400, 50), 0.3) <= seconds or size.prompt == 64
    writing = workload(fast, 0.3, objective="decode", seconds=3, context=2**20)
    assert (writing.prompt, writing.decode) == (32, 64)


def test_a_measurement_fits_the_context() -> None:
    for context in (512, 1024, 4096):
        assert workload(Rates(1e6, 1e6), 0, objective="mixed", seconds=60, context=context).context <= context


# What is kept


def test_what_won_is_kept_with_what_it_gained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "fingerprint", lambda path: "f" * 16)
    machine = FakeSpeed(lambda spec: 1000, lambda spec: 150 if spec.threads == 4 else 100)
    asked = wanted(objective="decode", base=replace(BASE, gpu_layers=0))
    found = machine.tune(asked)
    assert found is not None
    kept = keeping.to_keep("smollm2", asked.base, "decode", found)
    assert kept is not None
    assert (kept.ref, kept.settings, kept.gpu_layers) == ("smollm2", Settings(threads=4), 0)
    assert (kept.gain, kept.gain_low, kept.gain_high) == pytest.approx((0.5, 0.5, 0.5))
    assert not keeping.changes_output(asked.base, found)


def test_where_nothing_won_nothing_is_kept() -> None:
    found = FakeSpeed(lambda spec: 1000, lambda spec: 100).tune(wanted())
    assert found is not None
    assert keeping.to_keep("smollm2", BASE, "mixed", found) is None
