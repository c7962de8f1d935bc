"""A weighed place as a message: every token has a text that can be shown, and the numbers are those that were weighed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from vocabulary_reader import Reader

from lmlab.llama.distribution import Weigher
from lmlab.sampling import DEFAULTS, SamplingParams
from lmlab.worker.distribution import describe
from lmlab.worker.spelling import token_text

SAMPLING = SamplingParams(seed=1, repeat_penalty=1.2, top_k=5).merge(DEFAULTS)


def test_the_message_says_what_was_weighed(smol: Reader) -> None:
    logits = np.random.default_rng(2).standard_normal(smol.vocabulary.size, np.float32) * 3
    history = [int(logits.argmax())]
    rare = int(logits.argmin())
    weigher = Weigher(logits, history)
    message = describe("r1", smol.vocabulary, weigher, SAMPLING, top=8, drawn=rare)
    weighed = weigher.weigh(SAMPLING, top=8, drawn=rare)
    assert (message.request_id, message.sampling) == ("r1", SAMPLING)
    assert [(s.name, s.left, s.entropy) for s in message.stages] == [
        (s.name, s.left, s.entropy) for s in weighed.stages
    ]
    assert [stage.name for stage in message.stages] == ["raw", "penalties", "top-k", "top-p", "min-p", "temperature"]
    got = [(a.token, a.rank, a.logit, a.probabilities, a.removed_by) for a in message.alternatives]
    assert got == [(t.token, t.rank, t.logit, t.probabilities, t.removed_by) for t in weighed.tokens]
    assert [a.rank for a in message.alternatives] == [*range(8), smol.vocabulary.size - 1]
    last = message.alternatives[-1]
    assert (last.token, last.removed_by) == (rare, "top-k")
    assert len(last.probabilities) == len(message.stages)
    assert pickle.loads(pickle.dumps(message)) == message


def test_plain_tokens_are_shown_as_their_text(smol: Reader, gemma: Reader) -> None:
    for reader in (smol, gemma):
        for text in (" Paris", "Paris", "\n"):
            (token,) = reader.vocabulary.tokenize(text, special=False)
            assert token_text(reader.vocabulary, token) == text


def test_control_tokens_are_shown_by_their_name(smol: Reader, gemma: Reader) -> None:
    for reader, name in ((smol, "<|im_end|>"), (gemma, "<end_of_turn>"), (gemma, "<bos>")):
        (token,) = reader.vocabulary.tokenize(name, special=True)
        assert reader.vocabulary.piece(token) == b""
        assert token_text(reader.vocabulary, token) == name


def test_part_of_a_character_is_shown_as_its_bytes(smol: Reader, gemma: Reader) -> None:
    (first, *_) = smol.vocabulary.tokenize("\N{PILE OF POO}", special=False)
    shown = token_text(smol.vocabulary, first)
    assert "\\x" in shown
    assert "\N{REPLACEMENT CHARACTER}" not in shown
    (byte,) = [token for token in range(600) if gemma.vocabulary.text(token) == "<0xE2>"]
    assert token_text(gemma.vocabulary, byte) == "\\xe2"


@pytest.mark.parametrize("reader", ["smol", "gemma"])
def test_every_token_has_a_text(reader: str, request: pytest.FixtureRequest) -> None:
    vocabulary = request.getfixturevalue(reader).vocabulary
    step = max(1, vocabulary.size // 20_000)
    assert [token for token in range(0, vocabulary.size, step) if not token_text(vocabulary, token)] == []
