"""With a real model: going on from elsewhere in the tree finds what was decoded before in the prefix cache."""

from __future__ import annotations

import math
import queue
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lmlab.backends import Distribution, Event, Failed, Finished, LoadSpec, Usage
from lmlab.backends.local import LocalBackend
from lmlab.lab.chat import Chat, ChatEvent
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths
from lmlab.store import Reply, Store, Turn

STORY = "Tell me a short story about a train that leaves at three and arrives at five, with rain and a dog. " * 6


class Talk:
    def __init__(self, model: Path, folder: Path) -> None:
        paths = Paths(folder / "config.toml", folder, folder / "logs")
        self.store = Store(paths.database)
        self.events: queue.SimpleQueue[ChatEvent] = queue.SimpleQueue()
        self.chat = Chat(
            store=self.store,
            paths=paths,
            config=Config(),
            opener=partial(LocalBackend, log_folder=folder),
            listener=self.events.put,
            sampling=SamplingParams(max_tokens=12, temperature=0),
            load=LoadSpec("", gpu_layers=0, threads=1, context=2048),
        )
        self.chat.open_model(str(model))

    def reply(self) -> Usage:
        """Wait for the reply under way and return what it cost."""
        while not isinstance(event := self.events.get(timeout=120), Finished):
            assert not isinstance(event, Failed), event.error
        return event.usage

    def send(self, text: str) -> Usage:
        self.chat.send(text)
        return self.reply()

    def look(self, turn: Turn, at: int) -> Distribution:
        answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.chat.look(turn, at, SamplingParams(temperature=1), answers.put)
        answer = answers.get(timeout=120)
        assert isinstance(answer, Distribution), answer
        return answer


@pytest.fixture
def talk(smollm2: Path, tmp_path: Path) -> Iterator[Talk]:
    talk = Talk(smollm2, tmp_path)
    yield talk
    talk.chat.close()
    talk.store.close()


def record(turn: Turn) -> Reply:
    assert turn.reply is not None
    return turn.reply


def test_branches_edits_and_going_back_take_their_prefix_from_the_cache(talk: Talk) -> None:
    chat = talk.chat
    first = talk.send(STORY)
    talk.send("And the dog?")
    question, answer, second, last = chat.turns

    # Another token at the fourth place: all before it is there.
    weighed = talk.look(answer, 3)
    other = next(one for one in weighed.alternatives if one.token != record(answer).tokens[3])
    chat.branch(answer, 3, other.token)
    branched = talk.reply()
    made = record(chat.turns[-1])
    assert branched.prompt_tokens == first.prompt_tokens + 4
    assert branched.cached_tokens >= first.prompt_tokens + 3 - 1
    assert made.tokens[:4] == (*record(answer).tokens[:3], other.token)
    assert len(made.tokens) == branched.completion_tokens + 4 <= 12
    assert made.logprobs is not None
    assert made.logprobs[3] == pytest.approx(math.log(other.probabilities[0]), abs=1e-5)
    assert len(made.logprobs) == len(made.tokens)
    assert chat.turns[-1].content

    # Back on the old branch, the whole of it.
    chat.select(last)
    assert chat.turns == (question, answer, second, last)
    on = talk.send("Why?")
    before = record(last).usage
    assert before is not None
    assert on.cached_tokens >= before.prompt_tokens + before.completion_tokens - 1

    # Another wording of the second message: all before it.
    chat.edit(second, "And the rain?")
    edited = talk.reply()
    assert edited.cached_tokens >= first.prompt_tokens + first.completion_tokens - 1
    assert edited.cached_tokens < edited.prompt_tokens

    # Another one behind the branch that was made of a token.
    chat.fork(next(turn for turn in chat.tree() if turn.reply is not None and turn.reply.branch is not None))
    forked = talk.send("And then?")
    assert forked.cached_tokens >= branched.prompt_tokens + branched.completion_tokens - 1


def test_the_text_of_a_branch_is_that_of_its_tokens(talk: Talk) -> None:
    chat = talk.chat
    talk.send("Say hello.")
    answer = chat.turns[-1]
    tokens = record(answer).tokens

    chat.branch(answer, 2, tokens[2])
    talk.reply()

    # Greedy: the same tokens follow.
    assert record(chat.turns[-1]).tokens == tokens
    assert chat.turns[-1].content == answer.content
