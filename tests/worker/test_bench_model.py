"""Timed runs on a real context: what is decoded, what is inside the measured time, and where each sequence stands after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from lmlab.errors import ModelLoadError, UsageError
from lmlab.llama import Library
from lmlab.worker.benching import bench_model
from lmlab.worker.benching.bench_model import BenchModel
from lmlab.worker.benching.messages import Run
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import LoadSpec, Lora

KINDS: dict[str, Callable[..., Path]] = {
    "full attention": tiny_models.write_llama,
    "sliding window": tiny_models.write_sliding_window,
    "recurrent": tiny_models.write_recurrent,
}
PLENTY = 1 << 40


class Watched:
    """A model whose decodes are counted, and a clock that goes on by one for each row of them."""

    def __init__(self, library: Library, monkeypatch: pytest.MonkeyPatch, spec: LoadSpec) -> None:
        self.model = BenchModel(spec, library, LoadLog(), lambda fraction: None, available=lambda: PLENTY)
        self.context = self.model._context
        self.batches: list[int] = []
        decode = self.context.decode

        def counted() -> object:
            self.batches.append(int(self.context.batch.struct.n_tokens))
            return decode()

        monkeypatch.setattr(self.context, "decode", counted)
        monkeypatch.setattr(bench_model.time, "perf_counter", lambda: float(sum(self.batches)))

    def lengths(self, count: int) -> list[int]:
        return [self.context.last_position(number) + 1 for number in range(count)]


@pytest.fixture
def open_model(library: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    opened: list[Watched] = []

    def opening(kind: str = "full attention", **options: object) -> Watched:
        path = KINDS[kind](tmp_path / "model.gguf")
        spec = LoadSpec(str(path), context=1024, threads=1, gpu_layers=0, sequences=4)
        opened.append(Watched(library, monkeypatch, replace(spec, **options)))  # type: ignore[arg-type]
        return opened[-1]

    yield opening
    for watched in opened:
        watched.model.close()


@pytest.mark.parametrize("kind", KINDS)
def test_bringing_about_the_depth_is_outside_the_time(open_model: Callable[..., Watched], kind: str) -> None:
    watched = open_model(kind)
    ran = watched.model.run(Run(depth=100, prompt=30))
    assert (ran.seconds, ran.filled, ran.filling_s) == (30, 100, 100)
    assert watched.lengths(1) == [130]


@pytest.mark.parametrize(("kind", "filled"), [("full attention", 0), ("sliding window", 0), ("recurrent", 100)])
def test_what_was_added_is_cut_off_again_where_it_can_be(
    open_model: Callable[..., Watched], kind: str, filled: int
) -> None:
    watched = open_model(kind)
    watched.model.run(Run(depth=100, decode=8))
    assert watched.lengths(1) == [108]
    ran = watched.model.run(Run(depth=100, decode=8))
    assert (ran.seconds, ran.filled) == (8, filled)
    assert watched.lengths(1) == [108]


def test_a_greater_depth_goes_on_from_a_smaller_one(open_model: Callable[..., Watched]) -> None:
    watched = open_model()
    watched.model.run(Run(depth=100, decode=8))
    assert watched.model.run(Run(depth=250, decode=8)).filled == 142
    assert watched.lengths(1) == [258]


def test_writing_is_one_row_a_sequence_and_step(open_model: Callable[..., Watched]) -> None:
    watched = open_model()
    watched.model.run(Run(decode=1))
    watched.batches.clear()
    ran = watched.model.run(Run(sequences=3, depth=10, decode=5))
    assert watched.batches == [9, 10, 10, 3, 3, 3, 3, 3]
    assert (ran.seconds, ran.filled) == (15, 29)
    assert watched.lengths(4) == [15, 15, 15, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_that_take_no_part_hold_nothing(open_model: Callable[..., Watched], kind: str) -> None:
    watched = open_model(kind)
    watched.model.run(Run(sequences=4, depth=10, decode=5))
    watched.model.run(Run(sequences=2, depth=10, decode=5))
    assert watched.lengths(4) == [15, 15, 0, 0]


def test_the_first_of_each_kind_is_done_once_before_it_counts(open_model: Callable[..., Watched]) -> None:
    watched = open_model()
    for run, batches in (
        (Run(prompt=20), [20, 20]),
        (Run(prompt=20), [20]),
        (Run(decode=2), [1, 1, 1]),
        (Run(decode=2), [1, 1]),
    ):
        watched.batches.clear()
        watched.model.run(run)
        assert watched.batches == batches


def test_a_prompt_longer_than_a_batch_is_read_in_several(
    open_model: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = open_model()
    monkeypatch.setattr(watched.context.batch, "capacity", 100)
    watched.model.run(Run(prompt=250))
    assert watched.batches[-3:] == [100, 100, 50]


def test_tokens_are_of_the_vocabulary_and_a_sequence_begins_as_the_model_wants(
    open_model: Callable[..., Watched],
) -> None:
    watched = open_model()
    vocabulary = watched.model._model.vocabulary
    vocabulary.add_bos = True
    tokens = np.array(watched.model._tokens(5000, first=True))
    assert tokens[0] == vocabulary.bos
    assert tokens.min() >= 0
    assert tokens.max() < vocabulary.size
    assert len(set(tokens.tolist())) > vocabulary.size // 2


@pytest.mark.parametrize(
    "run",
    [Run(), Run(prompt=1, decode=1), Run(sequences=0, prompt=1), Run(sequences=5, prompt=1), Run(depth=-1, prompt=1)],
)
def test_nonsense_never_reaches_the_library(open_model: Callable[..., Watched], run: Run) -> None:
    watched = open_model()
    with pytest.raises(ValueError, match="Run"):
        watched.model.run(run)
    assert watched.batches == []


def test_more_than_the_context_holds_is_refused_with_both_numbers(open_model: Callable[..., Watched]) -> None:
    watched = open_model()
    with pytest.raises(UsageError, match=r"3 x 350 tokens do not fit the context of 1,024: .*--ctx-size"):
        watched.model.run(Run(sequences=3, depth=300, decode=50))


def test_it_says_how_it_was_loaded(open_model: Callable[..., Watched]) -> None:
    opened = open_model(ubatch=64, flash_attention=False).model.opened
    assert (opened.context, opened.threads, opened.layout.ubatch, opened.layout.sequences) == (1024, 1, 64, 4)
    assert opened.weights_read


def test_adapters_are_applied(open_model: Callable[..., Watched], tmp_path: Path) -> None:
    adapter = tiny_models.write_lora(tmp_path / "lora.gguf")
    watched = open_model(lora=(Lora(str(adapter)),))
    assert len(watched.model._adapters) == 1
    assert watched.model.run(Run(decode=3)).seconds == 3


def test_an_encoder_is_refused(library: Library, tmp_path: Path) -> None:
    spec = LoadSpec(str(tiny_models.write_encoder(tmp_path / "bert.gguf")), threads=1)
    with pytest.raises(ModelLoadError, match="encoder"):
        BenchModel(spec, library, LoadLog(), lambda fraction: None, available=lambda: PLENTY)
