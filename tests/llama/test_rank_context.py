"""Scores, checked against the head computed in numpy on what llama.cpp says of single tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest
from loaded_models import THREADS, load_model
from tiny_models import write_decoder_reranker, write_llama, write_reranker

from lmlab.errors import ModelLoadError
from lmlab.llama import read_file_header
from lmlab.llama.batch import Batch
from lmlab.llama.model import Model
from lmlab.llama.ranking import CHUNK, PACKED, RankContext, RankHead, rank_head, reads_whole

TOLERANCE = 0.01
"""Flash attention computes with 16 bits, and other rows of a batch shift its sums."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rankers")


@pytest.fixture(scope="module", params=["encoder", "encoder of three", "decoder"])
def ranker(request: pytest.FixtureRequest, folder: Path) -> Path:
    path = folder / f"{request.param}.gguf"
    if request.param == "decoder":
        return write_decoder_reranker(path)
    return write_reranker(path, labels=("no", "maybe", "yes") if "three" in request.param else ())


def head_of(path: Path) -> RankHead:
    header = read_file_header(str(path))
    assert header is not None
    return rank_head(load_model(path), str(path), header.tensors)


def scores(path: Path, sequences: Sequence[Sequence[int]], *, together: int = 4, context: int = 512) -> list[float]:
    model = load_model(path)
    opened = RankContext(
        model, head_of(path), context=context, sequences=together, whole=reads_whole(model), threads=THREADS
    )
    try:
        return opened.score(sequences)
    finally:
        opened.close()


def texts(path: Path, lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    size = load_model(path).vocabulary.size
    random = np.random.default_rng(seed)
    return [random.integers(0, size, length).tolist() for length in lengths]


def by_hand(path: Path, tokens: Sequence[int]) -> float:
    """The score from the embedding of the token that the head reads: an encoder's first, a decoder's last."""
    model = load_model(path)
    whole = reads_whole(model)
    embedding = token_embedding(model, tokens, 0 if whole else len(tokens) - 1)
    weights = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    if "cls.weight" in weights:
        embedding = np.tanh(weights["cls.weight"] @ embedding + weights["cls.bias"])
    outputs = weights["cls.output.weight"] @ embedding + weights.get("cls.output.bias", 0)
    if not whole:
        outputs = np.exp(outputs - outputs.max()) / np.exp(outputs - outputs.max()).sum()
    return float(outputs[head_of(path).score])


def token_embedding(model: Model, tokens: Sequence[int], place: int) -> npt.NDArray[np.float32]:
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = 512
    parameters.embeddings = True
    parameters.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
    parameters.n_threads = parameters.n_threads_batch = THREADS
    context = llama_cpp.llama_init_from_model(model.pointer, parameters)
    batch = Batch(512)
    batch.add(tokens, 0, 0, logits=True, every=True)
    assert llama_cpp.llama_decode(context, batch.struct) == 0
    width = int(llama_cpp.llama_model_n_embd(model.pointer))
    found = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_ith(context, place), shape=(width,)).copy()
    llama_cpp.llama_free(context)
    return found


def test_a_score_is_what_the_head_makes_of_the_embedding(ranker: Path) -> None:
    for tokens in texts(ranker, [1, 7, 40]):
        assert scores(ranker, [tokens]) == [pytest.approx(by_hand(ranker, tokens), abs=TOLERANCE)]


def test_many_at_once_are_scored_as_each_alone_and_in_order(ranker: Path) -> None:
    sequences = texts(ranker, [5, 90, 1, 17, 200, 3, 64, 64, 11])
    together = scores(ranker, sequences)
    assert together == pytest.approx([scores(ranker, [tokens])[0] for tokens in sequences], abs=TOLERANCE)
    assert together == scores(ranker, sequences)
    assert len({round(score, 2) for score in together}) > 4


def test_what_all_begin_with_is_read_once_and_counts_the_same(ranker: Path) -> None:
    shared = texts(ranker, [CHUNK // 3], seed=1)[0]
    sequences = [shared + end for end in texts(ranker, [1, 30, 5])] + [shared]
    assert scores(ranker, sequences, context=1024) == pytest.approx(
        [scores(ranker, [tokens], context=1024)[0] for tokens in sequences], abs=TOLERANCE
    )


@pytest.mark.parametrize("length", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, PACKED + 1])
def test_batches_that_are_just_full_or_just_too_small(ranker: Path, length: int) -> None:
    sequences = texts(ranker, [3, length, 2])
    assert scores(ranker, sequences, context=1024) == pytest.approx(
        [scores(ranker, [tokens], context=1024, together=1)[0] for tokens in sequences], abs=TOLERANCE
    )


def test_as_long_as_the_context_and_no_longer(ranker: Path) -> None:
    model = load_model(ranker)
    opened = RankContext(model, head_of(ranker), context=256, sequences=2, whole=reads_whole(model), threads=THREADS)
    longest, too_long = texts(ranker, [opened.longest, opened.longest + 1])
    assert opened.longest == 256
    assert len(opened.score([longest, longest])) == 2
    for wrong in ([], too_long):
        with pytest.raises(ValueError, match="1 to 256"):
            opened.score([[1], wrong])
    opened.close()


def test_an_encoder_takes_no_more_than_the_positions_it_has(folder: Path) -> None:
    path = write_reranker(folder / "wide.gguf")
    model = load_model(path)
    opened = RankContext(model, head_of(path), context=4096, sequences=1, whole=True, threads=THREADS)
    assert opened.longest == model.context_trained == 2048
    assert len(opened.score(texts(path, [2048]))) == 1
    opened.close()


def test_nothing_to_score_gives_no_scores(ranker: Path) -> None:
    assert scores(ranker, []) == []


@pytest.mark.parametrize(
    ("labels", "score"),
    [
        (("yes", "no"), 0),
        (("no", "yes"), 1),
        (("a", "b", "Relevant"), 2),
        (("a", "b"), 0),
        (("positive", "true"), 0),
        ((), 0),
    ],
)
def test_which_output_is_the_score(folder: Path, labels: tuple[str, ...], score: int) -> None:
    path = write_reranker(folder / f"labels {' '.join(labels)}.gguf", labels=labels)
    assert head_of(path) == RankHead(max(1, len(labels)), labels, score)


def test_a_model_without_a_rank_head_is_refused(folder: Path) -> None:
    path = write_llama(folder / "plain.gguf")
    with pytest.raises(ModelLoadError, match="has no rank head, so it cannot score answers: give a reward model"):
        head_of(path)


def test_a_softmax_of_one_output_is_refused(folder: Path) -> None:
    path = write_decoder_reranker(folder / "one.gguf", labels=("yes",))
    with pytest.raises(ModelLoadError, match=r"one output, which llama\.cpp makes 1 for every answer"):
        head_of(path)
