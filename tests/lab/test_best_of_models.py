"""Best of N with a real model: candidates from one prefill, a vote that stops early, and a judge."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmlab.backends import ChatPrompt, Event, LoadSpec, Message, Request
from lmlab.backends.local import LocalBackend
from lmlab.lab.best_of import Gather, Question, open_selector, parse_selector
from lmlab.sampling import SamplingParams

LIMIT_S = 120.0
MESSAGES = (Message("user", "What is the capital of France? Answer with one word."),)


@pytest.fixture(scope="module")
def backend(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    # One thread: tests run beside other programs.
    spec = LoadSpec(str(smollm2), context=8192, gpu_layers=0, threads=1)
    backend = LocalBackend(spec, lambda status: None, log_folder=tmp_path_factory.mktemp("logs"))
    yield backend
    backend.close()


def capital(text: str) -> str | None:
    return "Paris" if "Paris" in text else None


QUESTION = Question(MESSAGES, MESSAGES[0].content, capital)


def test_a_vote_stops_the_candidates_that_cannot_change_it(backend: LocalBackend) -> None:
    selector = open_selector(
        parse_selector("vote"), own=backend, open_model=lambda ref, rank: backend, template_folder=None
    )
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    # All say the same: three of four are a majority, while the last still speaks.
    sampling = SamplingParams(temperature=1.5, seed=3, max_tokens=400)
    gather = Gather(4, lambda text: "an answer")
    handle = backend.generate(Request("vote", ChatPrompt(MESSAGES), sampling, candidates=4), events.put)
    settled = False
    while not gather.over:
        gather.fold(events.get(timeout=LIMIT_S))
        if not settled and selector.settled(gather.ended, 4):
            settled = True
            for index in {0, 1, 2, 3} - {one.index for one in gather.ended}:
                handle.cancel(index)
    assert gather.failed is None
    choice = selector.choose(QUESTION, gather.ended)
    assert settled
    assert len(choice.candidates) == 4
    assert choice.saved == sum(one.reason == "cancelled" for one in choice.candidates) == 1
    assert choice.best.answer == "an answer"
    assert choice.why == "3 of 3 say an answer"


def test_a_model_judges_its_own_candidates(backend: LocalBackend) -> None:
    selector = open_selector(
        parse_selector("judge"), own=backend, open_model=lambda ref, rank: backend, template_folder=None
    )
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    gather = Gather(2, capital)
    asked = (Message("user", "Name a colour that you like, and say why."),)
    question = Question(asked, asked[0].content, capital)
    sampling = SamplingParams(temperature=1.2, seed=5, max_tokens=24)
    backend.generate(Request("two", ChatPrompt(asked), sampling, candidates=2, stream=False), events.put)
    while not gather.over:
        gather.fold(events.get(timeout=LIMIT_S))
    assert gather.failed is None
    first, second = gather.ended
    assert first.text != second.text
    choice = selector.choose(question, gather.ended)
    assert choice.selected in (0, 1)
    assert sum(one.score or 0.0 for one in choice.candidates) == 1.0
    assert "no verdict" not in choice.why
    selector.close()
