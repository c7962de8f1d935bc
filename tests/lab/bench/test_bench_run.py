"""Tiny models really measured: what is measured how often, in which order, and every way it can end early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from lmlab.backends import LoadSpec
from lmlab.errors import EngineStopped, ModelError, UsageError
from lmlab.lab.bench import bench as module
from lmlab.lab.bench import measure_speed
from lmlab.lab.bench.amounts import Amounts, Key
from lmlab.lab.bench.bench import Bench, Doing
from lmlab.lab.bench.subject import Subject, subjects
from lmlab.lab.bench.whole_program import measure_whole
from lmlab.lab.variant import parse_variant
from lmlab.models import ModelFile
from lmlab.models.header import read_header
from lmlab.worker.messages import LOOKUP

SMALL = Amounts(repeat=2, prompt=8, decode=4, depths=(0, 32), together=(1, 2), together_depth=8, question=0)


@pytest.fixture(autouse=True)
def small_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "array_size", lambda: 1 << 20)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "llama": tiny_models.write_llama(folder / "llama.gguf"),
        "mamba": tiny_models.write_recurrent(folder / "mamba.gguf"),
    }


def subject(path: Path, **spec: object) -> Subject:
    model = ModelFile(path.stem, path, read_header(path), None)
    return Subject(path.stem, model, LoadSpec(str(path), threads=1, **spec))  # type: ignore[arg-type]


def ignored(doing: Doing) -> None:
    """For tests of what is found."""


def test_every_figure_of_every_variant_as_often_as_asked_in_turns(models: dict[str, Path], tmp_path: Path) -> None:
    told: list[Doing] = []
    bench = Bench([subject(path) for path in models.values()], SMALL, log_folder=tmp_path, listener=told.append)
    results = bench.run()
    assert bench.complete
    keys = [Key("prefill"), Key("prefill", 32), Key("decode"), Key("decode", 32)]
    keys += [Key("decode_together", 8, 1), Key("decode_together", 8, 2)]
    for result, label in zip(results, models, strict=True):
        assert (result.label, result.failed, result.notes) == (label, False, ())
        assert [figure.key for figure in result.figures] == keys
        assert all(len(figure.spread.runs) == 2 and figure.spread.low > 0 for figure in result.figures)
        assert [figure.bound is not None for figure in result.figures] == [False, False, True, True, True, True]
        assert result.bandwidth is not None
        assert len(result.bandwidth.runs) == 2 * module.BANDWIDTH_READS
    # Both are looked at, then a round each, another one first the second time.
    order = [one.label for one in told if one.key in (None, Key("prefill"))]
    assert order == ["llama", "mamba", "llama", "llama", "mamba", "mamba", "mamba", "mamba", "llama", "llama"]
    assert told[-1].left_s is not None


def test_the_whole_program_is_asked_as_a_person_would(models: dict[str, Path], tmp_path: Path) -> None:
    asked = replace(SMALL, repeat=1, depths=(), together=(), question=300, reply=8)
    (result,) = Bench([subject(models["llama"])], asked, log_folder=tmp_path, listener=ignored).run()
    found = {figure.key.measure: figure for figure in result.figures}
    assert found.keys() >= {"load", "first_token", "first_token_again", "first_token_from_disk", "reply", "memory"}
    assert {figure.key.depth for figure in result.figures} == {300}
    prompts = [found[name].tokens or 0 for name in ("first_token", "first_token_again", "first_token_from_disk")]
    assert prompts == sorted(prompts)
    assert prompts[0] == pytest.approx(300, rel=0.15)
    assert found["memory"].spread.median > 1_000_000


def test_what_is_reused_is_reused(models: dict[str, Path], tmp_path: Path) -> None:
    spec = subject(models["llama"]).load

    def measured(spec: LoadSpec) -> object:
        return measure_whole(spec, question=300, reply=8, number=1, log_folder=tmp_path, cancelled=lambda: False)

    whole = measured(spec)
    assert whole.first.cached == 0
    assert whole.again.cached > 250
    assert whole.from_disk is not None
    assert whole.from_disk.restored > 250
    alone = measured(replace(spec, reuse=False))
    assert (alone.again.cached, alone.from_disk) == (0, None)


def test_without_reuse_it_is_said_that_there_was_none(models: dict[str, Path], tmp_path: Path) -> None:
    asked = replace(SMALL, repeat=1, depths=(), together=(), question=100, reply=4)
    (result,) = Bench([subject(models["llama"], reuse=False)], asked, log_folder=tmp_path, listener=ignored).run()
    assert result.notes == (
        "nothing of the first question was reused for the second",
        "no prefix came back from disk: no first token from there",
    )


def test_what_does_not_fit_or_is_not_done_is_said(models: dict[str, Path], tmp_path: Path) -> None:
    asked = replace(SMALL, repeat=1, depths=(0, 300))
    one = replace(subject(models["llama"], context=256, deterministic=True), ignored=("temperature", "technique"))
    one = replace(one, load=replace(one.load, draft=LOOKUP))
    (result,) = Bench([one], asked, log_folder=tmp_path, listener=ignored).run()
    assert result.notes == (
        "depth 300 needs a context of 308 tokens, and this one is of 256: not measured",
        "several sequences at once are not what --deterministic does: not measured",
        "the draft takes part in the whole program only: of the model alone, tokens are random",
        "no speed depends on temperature, technique: left out",
    )
    assert {figure.key.sequences for figure in result.figures} == {1}


def test_what_cannot_be_loaded_is_said_of_each_before_anything_is_measured(
    models: dict[str, Path], tmp_path: Path
) -> None:
    told: list[Doing] = []
    gone = replace(subject(models["llama"]), label="gone", load=LoadSpec(str(tmp_path / "gone.gguf")))
    bench = Bench(
        [subject(models["llama"]), gone, replace(gone, label="too")], SMALL, log_folder=tmp_path, listener=told.append
    )
    with pytest.raises(ModelError, match=r"^gone: llama\.cpp could not load .*; too: llama\.cpp could not load"):
        bench.run()
    assert [one.key for one in told] == [None, None, None]


def test_cancelled_it_gives_what_there_is(models: dict[str, Path], tmp_path: Path) -> None:
    def listen(doing: Doing) -> None:
        if doing.key == Key("decode_together", 8, 1):
            bench.cancel()

    bench = Bench([subject(models["llama"])], SMALL, log_folder=tmp_path, listener=listen)
    (result,) = bench.run()
    assert bench.cancelled
    assert not bench.complete
    assert [(figure.key, len(figure.spread.runs)) for figure in result.figures] == [
        (Key("prefill"), 1),
        (Key("decode"), 1),
    ]
    assert result.notes == ("4 of 6 measurements were not made",)


def test_out_of_time_it_gives_what_there_is(models: dict[str, Path], tmp_path: Path) -> None:
    now = 0.0

    def listen(doing: Doing) -> None:
        nonlocal now
        if doing.turn == 1:
            now = 1000.0

    bench = Bench(
        [subject(models["llama"])], SMALL, log_folder=tmp_path, listener=listen, most_s=60.0, clock=lambda: now
    )
    (result,) = bench.run()
    assert not bench.complete
    assert {len(figure.spread.runs) for figure in result.figures} == {1}
    assert len(result.figures) == 6


def test_one_that_fails_on_the_way_leaves_the_others_alone(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = module.BenchProcess.run
    calls: list[object] = []

    def failing(process: module.BenchProcess, order: object) -> object:
        calls.append(order)
        if len(calls) == 3:
            raise EngineStopped("the engine stopped: it crashed")
        return run(process, order)  # type: ignore[arg-type]

    monkeypatch.setattr(module.BenchProcess, "run", failing)
    bench = Bench([subject(path) for path in models.values()], SMALL, log_folder=tmp_path, listener=ignored)
    first, second = bench.run()
    assert first.notes == ("it failed, and was measured no more: the engine stopped: it crashed",)
    assert (first.failed, second.failed, bench.complete) == (True, False, False)
    assert [len(figure.spread.runs) for figure in first.figures] == [1, 1]
    assert {len(figure.spread.runs) for figure in second.figures} == {2}


class TestSpeed:
    def test_one_model_as_it_would_be_loaded(self, models: dict[str, Path], tmp_path: Path) -> None:
        told: list[float] = []
        spec = LoadSpec(str(models["llama"]), threads=1, ubatch=64)
        speed = measure_speed(
            spec, prompt=8, decode=4, depth=16, sequences=2, repeat=2, log_folder=tmp_path, progress=told.append
        )
        assert speed is not None
        assert (len(speed.prefill.runs), len(speed.decode.runs)) == (2, 2)
        assert min(speed.prefill.low, speed.decode.low, speed.load_s) > 0
        assert speed.memory > 100_000
        assert told == [0.25, 0.5, 0.75, 1.0]

    def test_a_context_that_is_too_small_is_refused(self, models: dict[str, Path], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="do not fit the context of 256"):
            measure_speed(LoadSpec(str(models["llama"]), threads=1, context=256), log_folder=tmp_path)

    def test_cancelled_it_is_nothing(self, models: dict[str, Path], tmp_path: Path) -> None:
        spec = LoadSpec(str(models["llama"]), threads=1)
        assert measure_speed(spec, log_folder=tmp_path, cancelled=lambda: True) is None

    def test_several_sequences_are_not_deterministic(self, models: dict[str, Path], tmp_path: Path) -> None:
        spec = LoadSpec(str(models["llama"]), deterministic=True)
        with pytest.raises(UsageError, match="one sequence at a time"):
            measure_speed(spec, sequences=2, log_folder=tmp_path)


class TestSubjects:
    @pytest.fixture
    def resolve(self, models: dict[str, Path]) -> Callable[[str | None], ModelFile]:
        return lambda ref: subject(models["mamba" if ref == "mamba" else "llama"]).model

    def test_a_variant_is_loaded_as_it_says(self, resolve: Callable[[str | None], ModelFile]) -> None:
        load = LoadSpec("", context=512, threads=3)
        found = subjects(
            [parse_variant("llama"), parse_variant("mamba@ctx=256,draft=lookup,temperature=0.5,shots=2,label=m")],
            load,
            resolve=resolve,
            saved=lambda spec: replace(spec, ubatch=64),
        )
        assert [(one.label, one.model.ref, one.ignored) for one in found] == [
            ("llama", "llama", ()),
            ("m", "mamba", ("temperature", "shots")),
        ]
        assert [(one.load.context, one.load.draft, one.load.threads, one.load.ubatch) for one in found] == [
            (512, None, 3, 64),
            (256, "lookup", 3, 64),
        ]
        assert [Path(one.load.path).stem for one in found] == ["llama", "mamba"]

    @pytest.mark.parametrize(
        ("variants", "deterministic", "says"),
        [
            (["llama", "llama"], False, "two variants are called llama"),
            (["a", "b", "c", "d", "e"], False, "5 variants .* 4 at most"),
            (["llama@draft=lookup"], True, "--deterministic fixes"),
        ],
    )
    def test_what_cannot_be_measured_together_is_refused(
        self, resolve: Callable[[str | None], ModelFile], variants: list[str], deterministic: bool, says: str
    ) -> None:
        load = LoadSpec("", deterministic=deterministic)
        with pytest.raises(UsageError, match=says):
            subjects([parse_variant(one) for one in variants], load, resolve=resolve, saved=lambda spec: spec)
