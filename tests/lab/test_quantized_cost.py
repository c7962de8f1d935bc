"""What another quantization costs, measured over tiny models in processes of their own."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
import tiny_models

from lmlab.errors import UsageError
from lmlab.lab.bench import Speed, spread_of
from lmlab.lab.divergence import Divergence
from lmlab.lab.quantized_cost import QuantizedCost, measure_cost
from lmlab.lab.quantizing import QuantizeOptions, quantize
from lmlab.lab.sample_text import sample_text

Stages: TypeAlias = list[tuple[str, float]]

TEXT = "hello world, and again; " * 400


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    source = tiny_models.write_llama(folder / "tiny.gguf", width=64)
    options = QuantizeOptions(threads=1)
    done = quantize(source, "Q8_0", folder / "new.gguf", options=options, log_folder=folder / "logs")
    assert done is not None
    return source, done.path


def cost(models: tuple[Path, Path], folder: Path, stages: Stages, **options: object) -> QuantizedCost:
    known = {"cancelled": lambda: False} | options
    return measure_cost(
        *models,
        TEXT,
        "a text",
        threads=1,
        log_folder=folder,
        stage=lambda what, fraction: stages.append((what, fraction)),
        **known,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def measured(models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizedCost, Stages]:
    stages: Stages = []
    return cost(models, tmp_path_factory.mktemp("logs"), stages), stages


def test_predictions_and_speeds_of_both_are_measured(measured: tuple[QuantizedCost, Stages]) -> None:
    found, stages = measured
    assert found.complete
    assert found.divergence is not None
    figures = found.divergence.figures
    assert 0 < figures.kl.value < 0.1
    assert figures.kl.error is not None
    assert figures.perplexity_first.value != figures.perplexity_second.value
    for speed in (found.before, found.after):
        assert speed is not None
        assert len(speed.prefill.runs) == len(speed.decode.runs) == 4
        assert speed.decode.low > 0
    assert list(dict.fromkeys(what for what, _ in stages)) == ["comparing predictions", "measuring speeds"]
    for what in ("comparing predictions", "measuring speeds"):
        fractions = [fraction for stage, fraction in stages if stage == what]
        assert fractions == sorted(fractions)
    assert stages[-1][1] == 1


def test_cancelled_it_returns_what_it_has(models: tuple[Path, Path], tmp_path: Path) -> None:
    stages: Stages = []
    found = cost(models, tmp_path, stages, cancelled=lambda: stages[-1][0] == "measuring speeds")
    assert found.divergence is not None
    assert found.divergence.complete
    assert not found.complete
    assert (found.before, found.after) == (None, None)
    assert cost(models, tmp_path, [], cancelled=lambda: True) == QuantizedCost("a text", None, None, None)


def test_it_can_be_written_as_json(measured: tuple[QuantizedCost, Stages]) -> None:
    found, _ = measured
    assert found.divergence is not None
    endless = replace(found.divergence.figures.perplexity_second, value=math.inf)
    figures = replace(found.divergence.figures, perplexity_second=endless)
    written = json.loads(
        json.dumps(replace(found, divergence=Divergence("a", "b", figures, None)).to_dict(), allow_nan=False)
    )
    assert written["figures"]["perplexity_second"]["value"] is None
    assert written["speed"]["after"]["decode"]["median"] > 0
    bare = QuantizedCost("a text", None, None, None).to_dict()
    assert (bare["figures"], bare["agreement"], bare["speed"]) == (None, None, {"before": None, "after": None})


def test_one_turn_of_two_is_not_complete(measured: tuple[QuantizedCost, Stages]) -> None:
    found, _ = measured
    once = Speed(spread_of([1.0, 2.0]), spread_of([1.0, 2.0]), 1.0, 1)
    assert not replace(found, before=once).complete


def test_models_that_predict_nothing_are_refused(tmp_path: Path) -> None:
    source = tiny_models.write_llama(tmp_path / "tiny.gguf")
    other = tiny_models.write_llama(tmp_path / "other.gguf", tokenizer="spm")
    with pytest.raises(UsageError, match="cannot be compared"):
        cost((source, other), tmp_path / "logs", [])


def test_the_text_that_comes_along_is_long_enough_for_errors() -> None:
    text = sample_text()
    assert 6_000 < len(text.split()) < 12_000
    assert len(text) > 10 * 512 * 4
