"""Loading to rank: what is chosen, and what is refused before it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import write_decoder_reranker, write_llama, write_reranker

from lmlab.errors import ModelLoadError
from lmlab.llama import Library
from lmlab.llama.ranking import CHUNK
from lmlab.worker.load_log import LoadLog
from lmlab.worker.messages import LOOKUP, LoadSpec, Lora
from lmlab.worker.rank_loading import WHOLE_CONTEXT, load_ranker
from lmlab.worker.ranking import LoadedRanker

PLENTY = 10**15


class Loader:
    def __init__(self) -> None:
        self.log = LoadLog()
        self.notes: list[str] = []
        self.library = Library(lambda level, line: self.log.take(level, line), lambda message: None)

    def __call__(self, spec: LoadSpec, available: int = PLENTY) -> LoadedRanker:
        self.log = LoadLog()
        return load_ranker(
            spec, self.library, self.log, lambda fraction: None, note=self.notes.append, available=lambda: available
        )


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader()


def spec(path: Path, **options: object) -> LoadSpec:
    return LoadSpec(str(path), threads=1, gpu_layers=0, rank=True, **options)  # type: ignore[arg-type]


def test_an_encoder_reads_a_pair_in_one_piece(loader: Loader, tmp_path: Path) -> None:
    path = write_reranker(tmp_path / "encoder.gguf", values={"bert.context_length": 2048})
    info = loader(spec(path)).info
    assert (info.context, info.layout.ubatch, info.layout.kv) == (WHOLE_CONTEXT, WHOLE_CONTEXT, 0)
    assert loader(spec(path, context=512)).info.layout.ubatch == 512
    assert loader(spec(path, context=100_000)).info.context == 2048


def test_a_decoder_reads_in_chunks(loader: Loader, tmp_path: Path) -> None:
    info = loader(spec(write_decoder_reranker(tmp_path / "decoder.gguf"), context=1024)).info
    assert (info.context, info.layout.ubatch, info.layout.kv > 0) == (1024, CHUNK, True)


def test_which_output_is_the_score_is_noted(loader: Loader, tmp_path: Path) -> None:
    loader(spec(write_reranker(tmp_path / "labels.gguf", labels=("no", "yes"))))
    assert loader.notes[-1] == "the score is output 1 of 2 (no, yes)"


def test_what_does_not_fit_is_refused_with_the_numbers(loader: Loader, tmp_path: Path) -> None:
    path = write_reranker(tmp_path / "encoder.gguf")
    with pytest.raises(ModelLoadError, match=r"with a context of 2,048 tokens needs .* are available"):
        loader(spec(path, context=2048), available=130_000_000)
    assert loader(spec(path), available=140_000_000).info.context < 2048


def test_what_has_no_meaning_here_is_refused(loader: Loader, tmp_path: Path) -> None:
    ranker = spec(write_reranker(tmp_path / "encoder.gguf"))
    with pytest.raises(ModelLoadError, match="leave out --lora"):
        loader(replace(ranker, lora=(Lora("adapter.gguf"),)))
    with pytest.raises(ModelLoadError, match="leave out --draft"):
        loader(replace(ranker, draft=LOOKUP))


def test_what_cannot_be_read_is_refused(loader: Loader, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no vocabulary"):
        loader(spec(write_decoder_reranker(tmp_path / "numbers.gguf", tokenizer="none")))
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(ModelLoadError, match=r"could not load .*junk\.gguf"):
        loader(spec(junk))
    with pytest.raises(ModelLoadError, match="no rank head"):
        loader(spec(write_llama(tmp_path / "plain.gguf")))
