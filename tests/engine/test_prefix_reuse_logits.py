"""Reuse changes nothing: what a model says after a shared prefix is what it says after decoding everything itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from loaded_models import THREADS

from lmlab.engine.prefix_cache import PrefixCache, ReusePolicy
from lmlab.llama import Context, DecodeStatus, Model

Logits = npt.NDArray[np.float32]
OpenShelf = Callable[..., tuple[Context, PrefixCache]]

SEQUENCES = 4
IDLE = 4
PROMPT, COMMON, TAIL = 60, 48, 40
"""Tokens of the tiny models' texts; the tail is longer than a window of 16."""


@pytest.fixture
def open_shelf() -> Iterator[OpenShelf]:
    """Makes a context with an empty shelf; both are closed after the test."""
    opened: list[Context] = []

    def open_shelf(model: Model, policy: ReusePolicy, *, size: int = 512) -> tuple[Context, PrefixCache]:
        context = Context(model, context=size, sequences=SEQUENCES, idle=IDLE, batch=128, threads=THREADS)
        opened.append(context)
        window = model.sliding_window
        return context, PrefixCache(context, policy, sliding_window=window, first=SEQUENCES, capacity=IDLE)

    yield open_shelf
    for context in opened:
        context.close()


def text(count: int, seed: int) -> list[int]:
    """Tokens below 256, which every model here has."""
    return random.Random(seed).choices(range(3, 256), k=count)


def decode(context: Context, tokens: Sequence[int], sequence: int, position: int = 0) -> Logits:
    """Decode ``tokens`` from ``position`` on; return the logits after the last."""
    row = -1
    for at in range(0, len(tokens), context.batch.capacity):
        context.batch.clear()
        chunk = tokens[at : at + context.batch.capacity]
        row = context.batch.add(chunk, position + at, sequence, logits=True)
        assert context.decode() is DecodeStatus.DONE
    return context.logits(row).copy()


def alone(open_shelf: OpenShelf, model: Model, policy: ReusePolicy, tokens: Sequence[int]) -> Logits:
    """What the model says after ``tokens`` in a context of its own."""
    context, _ = open_shelf(model, policy)
    return decode(context, tokens, 0)


def assert_alike(logits: Logits, expected: Logits, tolerance: float = 0.05) -> None:
    """In the tiny models one token of another text among those reused moves these by 0.1 to 4, other places in the KV
    cache by up to 0.02."""
    assert float(np.abs(logits - expected).max()) < tolerance


def tiny_models() -> list[object]:
    return [pytest.param("tiny", "full", id="full"), pytest.param("windowed", "sliding-window", id="sliding-window")]


@pytest.mark.parametrize(("name", "policy"), tiny_models())
def test_a_prefix_left_halfway(
    name: str, policy: ReusePolicy, open_shelf: OpenShelf, request: pytest.FixtureRequest
) -> None:
    """A running prompt, and then a kept reply, are shared up to where another text parts from them."""
    model: Model = request.getfixturevalue(name)
    context, cache = open_shelf(model, policy)
    prompt = text(PROMPT, 1)
    decode(context, prompt, 0)
    lease = cache.insert(0, prompt, None)
    for sequence in (1, 2):
        other = prompt[:COMMON] + text(TAIL, sequence + 10)
        hit = cache.match(other)
        assert hit.length == COMMON
        shared = cache.begin(hit, sequence)
        logits = decode(context, other[COMMON:], sequence, COMMON)
        assert_alike(logits, alone(open_shelf, model, policy, other))
        cache.keep(sequence, other, shared)
    cache.check_integrity()
    # The first went on undisturbed, and lets the others' cells be.
    whole = prompt + text(TAIL, 5)
    assert_alike(decode(context, whole[PROMPT:], 0, PROMPT), alone(open_shelf, model, policy, whole))
    cache.keep(0, whole, lease)
    again = [*whole, 7]
    hit = cache.match(again)
    assert hit.length == len(whole)
    cache.begin(hit, 3)
    assert_alike(decode(context, [7], 3, hit.length), alone(open_shelf, model, policy, again))


@pytest.mark.parametrize(("name", "policy"), tiny_models())
def test_a_prefix_that_was_trimmed(
    name: str, policy: ReusePolicy, open_shelf: OpenShelf, request: pytest.FixtureRequest
) -> None:
    """What eviction leaves of an entry that is in use serves the request that uses it, and the next."""
    model: Model = request.getfixturevalue(name)
    context, cache = open_shelf(model, policy)
    prompt = text(PROMPT, 1)
    decode(context, prompt, 0)
    cache.keep(0, prompt, None)
    other = prompt[:COMMON] + text(TAIL, 11)
    lease = cache.begin(cache.match(other), 1)
    assert cache.evict() == PROMPT - COMMON
    expected = alone(open_shelf, model, policy, other)
    assert_alike(decode(context, other[COMMON:], 1, COMMON), expected)
    hit = cache.match(other)
    assert hit.length == COMMON
    cache.begin(hit, 2)
    assert_alike(decode(context, other[COMMON:], 2, COMMON), expected)
    cache.release(lease)


def test_a_recurrent_state_goes_on_from_where_it_was_left(recurrent: Model, open_shelf: OpenShelf) -> None:
    """The state at a prompt's end is there for others while, and after, its own request goes on."""
    context, cache = open_shelf(recurrent, "recurrent")
    prompt = text(PROMPT, 1)
    decode(context, prompt, 0)
    lease = cache.insert(0, prompt, None)
    decode(context, text(TAIL, 2), 0, PROMPT)
    for sequence in (1, 2):
        other = prompt + text(TAIL, sequence + 10)
        hit = cache.match(other)
        assert hit.length == PROMPT
        shared = cache.begin(hit, sequence)
        expected = alone(open_shelf, recurrent, "recurrent", other)
        assert_alike(decode(context, other[PROMPT:], sequence, PROMPT), expected)
        cache.keep(sequence, other, shared)
        longer = [*other, 7]
        hit = cache.match(longer)
        assert hit.length == len(other)
        shared = cache.begin(hit, sequence)
        assert_alike(decode(context, [7], sequence, hit.length), alone(open_shelf, recurrent, "recurrent", longer))
        cache.release(shared)
        context.drop(sequence)
    cache.release(lease)


def decode_behind(context: Context, prompt: Sequence[int]) -> None:
    """Decode ``prompt`` on sequence 1, in cells that follow some that are free again: those are where llama.cpp looks
    for room first, and goes on into the prompt's where it may."""
    decode(context, text(50, 2), 0)
    decode(context, prompt, 1)
    context.drop(0)


def churn(context: Context, count: int) -> None:
    """Decode ``count`` tokens on sequence 2, a hundred at a time, each hundred forgotten before the next."""
    for seed in range(count // 100):
        decode(context, text(100, 100 + seed), 2)
        context.drop(2)


def test_one_id_does_not_hold_a_window(windowed: Model, open_shelf: OpenShelf) -> None:
    """Why entries of such models take two: with one, llama.cpp takes what lies behind the window, though cells are free."""
    context, _ = open_shelf(windowed, "sliding-window")
    decode_behind(context, text(100, 1))
    context.share(1, SEQUENCES, 100)
    context.drop(1)
    churn(context, 1000)
    assert context.first_position(SEQUENCES) > 0


def test_an_idle_window_outlasts_what_others_decode(windowed: Model, open_shelf: OpenShelf) -> None:
    context, cache = open_shelf(windowed, "sliding-window")
    prompt = text(100, 1)
    decode_behind(context, prompt)
    cache.keep(1, prompt, None)
    churn(context, 1000)
    hit = cache.match([*prompt[:20], 7])
    assert hit.length == 20
    cache.begin(hit, 3)
    assert_alike(decode(context, [7], 3, 20), alone(open_shelf, windowed, "sliding-window", [*prompt[:20], 7]))


def counting(model: Model) -> list[int]:
    """A text of which the model is sure: other text in its window moves the logits by 5 and more."""
    return model.vocabulary.tokenize(", ".join(map(str, range(1, 500))), special=False)


def test_gemma_continues_a_shared_prompt_beyond_its_window(gemma3_model: Model, open_shelf: OpenShelf) -> None:
    """Three sequences share 600 tokens at once, and one by one go on for longer than the window.

    The uncached run decodes pieces of the same sizes, and each sequence is dropped for the next to take its cells:
    another order of the same numbers alone moves this model's logits by up to 2.
    """
    assert gemma3_model.sliding_window == 512
    numbers = counting(gemma3_model)
    prompt, tail, other_tail = numbers[:600], numbers[700:1232], numbers[900:1432]
    uncached, _ = open_shelf(gemma3_model, "sliding-window", size=1280)
    decode(uncached, prompt, 0)
    soon = decode(uncached, tail[:8], 0, 600)
    late = decode(uncached, tail[8:], 0, 608)

    context, cache = open_shelf(gemma3_model, "sliding-window", size=3072)
    decode(context, prompt, 0)
    cache.keep(0, prompt, None)
    tails = {1: tail, 2: other_tail, 3: tail}
    for sequence, own in tails.items():
        hit = cache.match(prompt + own)
        assert hit.length == 600
        cache.begin(hit, sequence)
    for sequence, own in tails.items():
        after_piece = decode(context, own[:8], sequence, 600)
        after_all = decode(context, own[8:], sequence, 608)
        if own is tail:
            assert_alike(after_piece, soon, 1.0)
            assert_alike(after_all, late, 1.0)
        context.drop(sequence)
    cache.check_integrity()


def test_gemma_finds_an_idle_prompt_as_it_was_left(gemma3_model: Model, open_shelf: OpenShelf) -> None:
    """After 1,000 tokens of others, in the middle of the prompt, where what is behind its last window counts."""
    numbers = counting(gemma3_model)
    # The prompt is decoded 128 tokens at a time; the uncached run, which ends here, likewise.
    prompt, left, tail = numbers[:600], 3 * 128, numbers[900:910]
    uncached, _ = open_shelf(gemma3_model, "sliding-window", size=1024)
    decode_behind(uncached, prompt[:left])
    expected = decode(uncached, tail, 1, left)

    context, cache = open_shelf(gemma3_model, "sliding-window", size=1024)
    decode_behind(context, prompt)
    cache.keep(1, prompt, None)
    churn(context, 1000)
    hit = cache.match(prompt[:left] + tail)
    assert hit.length == left
    cache.begin(hit, 3)
    assert_alike(decode(context, tail, 3, left), expected, 1.0)
