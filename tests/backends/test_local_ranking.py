"""A reward model or reranker in a worker: scores, what it refuses, and what a model that generates refuses."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from local_harness import LIMIT_S, Bench, wait_until
from tiny_models import CHATML, write_decoder_reranker, write_encoder, write_llama, write_reranker

from lmlab.backends import (
    Encode,
    Encoded,
    Event,
    Failed,
    Inspect,
    Message,
    Rank,
    Ranked,
    RankPair,
    Spell,
    Spelled,
    TextPrompt,
)
from lmlab.errors import ContextOverflow, EngineStopped, ModelLoadError, UsageError
from lmlab.sampling import SamplingParams

ANSWERS = ("a b", "hello", "b world a", "a " * 60, "s s s", "b b hello", "world", "a b a b", "hello hello", "s a")


def pairs(answers: Sequence[str] = ANSWERS, question: str = "hello world") -> tuple[RankPair, ...]:
    return tuple(RankPair((Message("user", question),), answer) for answer in answers)


def scores(bench: Bench, asked: tuple[RankPair, ...]) -> tuple[float, ...]:
    answer = bench.answer(Rank("scores", asked))
    assert isinstance(answer, Ranked), answer
    assert answer.request_id == "scores"
    return answer.scores


@pytest.fixture(params=["encoder", "decoder", "chat decoder"])
def ranker(request: pytest.FixtureRequest, tmp_path: Path, open_model: Callable[..., Bench]) -> Bench:
    path = tmp_path / "ranker.gguf"
    if request.param == "encoder":
        write_reranker(path)
    else:
        write_decoder_reranker(path, chat_template=CHATML if "chat" in request.param else None)
    return open_model(path, context=512, rank=True)


def test_answers_are_scored_in_order_and_each_as_it_is_alone(ranker: Bench) -> None:
    together = scores(ranker, pairs())
    assert together == scores(ranker, pairs())
    assert together == pytest.approx([scores(ranker, (pair,))[0] for pair in pairs()], abs=0.01)
    assert scores(ranker, pairs()[::-1]) == pytest.approx(together[::-1], abs=0.01)
    assert len(set(together)) == len(ANSWERS)
    assert scores(ranker, pairs(question="world")) != pytest.approx(together, abs=0.01)
    assert scores(ranker, ()) == ()


def test_it_says_what_it_is(ranker: Bench) -> None:
    info = ranker.backend.wait_ready()
    assert (info.context, info.reuse) == (512, "none")
    assert info.layout.weights > 0


def test_a_pair_over_the_context_fails_and_the_next_is_scored(ranker: Bench) -> None:
    answer = ranker.answer(Rank("long", pairs(["a", "b " * 600])))
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, ContextOverflow)
    assert (answer.error.limit, answer.error.prompt_tokens > 600) == (512, True)
    assert len(scores(ranker, pairs())) == len(ANSWERS)


def test_it_encodes_and_does_not_generate(ranker: Bench) -> None:
    encoded = ranker.answer(Encode("tokens", TextPrompt("hello world")))
    assert isinstance(encoded, Encoded)
    assert "hello" in encoded.text
    assert encoded.cached == 0
    spelled = ranker.answer(Spell("texts", encoded.tokens))
    assert isinstance(spelled, Spelled)
    assert len(spelled.texts) == len(encoded.tokens)
    reply = ranker.ask("hello")
    reply.handle.cancel()
    assert isinstance(reply.error(), UsageError)
    look = ranker.answer(Inspect("look", TextPrompt("hello"), (), SamplingParams()))
    assert isinstance(look, Failed)
    assert "cannot generate" in str(look.error)


def test_deterministic_scores_do_not_depend_on_their_neighbours(
    open_model: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = open_model(write_reranker(tmp_path / "ranker.gguf"), context=512, rank=True, deterministic=True)
    assert scores(bench, pairs()) == tuple(scores(bench, (pair,))[0] for pair in pairs())


def test_what_is_asked_while_it_closes_fails(open_model: Callable[..., Bench], tmp_path: Path) -> None:
    bench = open_model(write_reranker(tmp_path / "ranker.gguf"), context=512, rank=True)
    bench.backend.wait_ready()
    answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
    bench.backend.ask(Rank("many", pairs(ANSWERS * 2000)), answers.put)
    bench.backend.close()
    answer = answers.get(timeout=LIMIT_S)
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, EngineStopped)
    wait_until(lambda: bench.backend.worker_pid is None)


def test_a_model_that_generates_scores_nothing(bench: Bench) -> None:
    answer = bench.answer(Rank("scores", pairs()))
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, UsageError)
    assert "cannot score answers" in str(answer.error)
    assert bench.ask("hello", max_tokens=2).finished().tokens


@pytest.mark.parametrize("write", [write_llama, write_encoder])
def test_a_model_without_a_rank_head_is_not_loaded_to_rank(
    open_model: Callable[..., Bench], tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    with pytest.raises(ModelLoadError, match="has no rank head, so it cannot score answers: give a reward model"):
        open_model(write(tmp_path / "plain.gguf"), rank=True).backend.wait_ready()


@pytest.mark.parametrize("write", [write_reranker, write_decoder_reranker])
def test_a_reranker_is_not_loaded_to_generate(
    open_model: Callable[..., Bench], tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    with pytest.raises(ModelLoadError, match="it scores answers and writes none"):
        open_model(write(tmp_path / "ranker.gguf")).backend.wait_ready()
