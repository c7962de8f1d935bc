"""States that went through the disk continue like those that never left memory; on tiny and on real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from loaded_models import OpenContext, load_model, opened_contexts
from snapshot_drive import KEY

from lmlab.engine import reuse_policy
from lmlab.llama import Context, DecodeStatus, Model
from lmlab.worker.snapshots import SnapshotStore

COUNT = 300
MORE = 5


@pytest.fixture
def open_context() -> Iterator[OpenContext]:
    with opened_contexts(context=1024, idle=4, batch=512) as opened:
        yield opened


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    return load_model(tiny_models.write_llama(tmp_path / "tiny.gguf"))


def feed(context: Context, tokens: list[int], *, position: int = 0, sequence: int = 0) -> npt.NDArray[np.float32]:
    """Decode ``tokens`` and return the logits that follow."""
    context.batch.clear()
    row = context.batch.add(tokens, position, sequence, logits=True)
    assert context.decode() is DecodeStatus.DONE
    return context.logits(row).copy()


def text(model: Model) -> list[int]:
    words = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40
    return model.vocabulary.tokenize(words, special=False)[: COUNT + MORE]


@pytest.fixture(params=["full", "window", "recurrent", "smollm2", "gemma3"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Model:
    match request.param:
        case "full":
            return load_model(tiny_models.write_llama(tmp_path / "model.gguf"))
        case "window":
            return load_model(tiny_models.write_sliding_window(tmp_path / "model.gguf", window=16))
        case "recurrent":
            return load_model(tiny_models.write_recurrent(tmp_path / "model.gguf"))
        case name:
            return load_model(request.getfixturevalue(name))


def test_a_state_from_disk_continues_like_one_that_was_never_saved(
    model: Model, open_context: OpenContext, tmp_path: Path
) -> None:
    def store() -> SnapshotStore:
        said: list[str] = []
        return SnapshotStore(
            tmp_path / "snapshots",
            10**9,
            said.append,
            policy=reuse_policy(model),
            context=1024,
            window=model.sliding_window,
        )

    tokens = text(model)
    before = open_context(model)
    feed(before, tokens[:COUNT], sequence=1)
    first = store()
    first.offer("abc234", KEY, tokens[:COUNT], before.save(1))
    assert first.flush(60)
    first.close()

    found = store().find(tokens[:-1], KEY)
    assert found is not None
    assert (list(found.tokens), found.length) == (tokens[:COUNT], COUNT)
    state = found.read()
    assert state is not None
    after = open_context(model)
    # Cells need not lie where they lay.
    feed(after, tokens[:50], sequence=0)
    assert after.restore(2, state)
    assert after.last_position(2) == COUNT - 1
    restored = feed(after, tokens[COUNT:], position=COUNT, sequence=2)

    uncached = open_context(model)
    feed(uncached, tokens[:COUNT])
    whole = feed(uncached, tokens[COUNT:], position=COUNT)
    np.testing.assert_allclose(restored, whole, atol=1e-3)
    assert restored.argmax() == whole.argmax()


def test_a_restored_state_can_be_cut_back_where_a_snapshot_says_so(smollm2: Path, open_context: OpenContext) -> None:
    model = load_model(smollm2)
    tokens = text(model)
    before, after, uncached = (open_context(model) for _ in range(3))
    feed(before, tokens[:COUNT])
    assert after.restore(0, before.save(0))
    assert after.cut(0, 200)
    other = [*tokens[:200], *tokens[:10]]
    feed(uncached, other[:200])
    np.testing.assert_allclose(
        feed(after, other[200:], position=200), feed(uncached, other[200:], position=200), atol=0.05
    )


def test_the_window_that_find_counts_on_is_in_the_state(tmp_path: Path, open_context: OpenContext) -> None:
    model = load_model(tiny_models.write_sliding_window(tmp_path / "model.gguf", window=16))
    before, after = open_context(model), open_context(model)
    feed(before, text(model)[:COUNT])
    assert before.first_position(0) == 0
    assert after.restore(0, before.save(0))
    assert (after.first_position(0), after.last_position(0)) == (COUNT - 16, COUNT - 1)


def test_a_state_that_does_not_fit_leaves_the_sequence_empty(tiny: Model, open_context: OpenContext) -> None:
    before, small, full = open_context(tiny), open_context(tiny, context=256), open_context(tiny, context=512)
    tokens = text(tiny)
    feed(before, tokens[:COUNT])
    state = before.save(0)
    assert not small.restore(0, state)
    feed(full, tokens[:COUNT], sequence=1)
    assert not full.restore(0, state)
    assert [context.last_position(0) for context in (small, full)] == [-1, -1]
    full.drop(1)
    assert full.restore(0, state)


def test_bytes_that_are_no_state_leave_the_sequence_empty(model: Model, open_context: OpenContext) -> None:
    before, after = open_context(model), open_context(model)
    feed(before, text(model)[:COUNT])
    state = bytes(before.save(0))
    cuts = {0, 1, 4, 8, 12, 16, 40, len(state) // 3, len(state) // 2, len(state) - 1}
    for wrong in [*(state[:cut] for cut in cuts), b"GGUF" * 1000, state + b"\0"]:
        assert not after.restore(0, wrong)
        assert after.last_position(0) == -1
    assert after.restore(0, state)


def test_sequences_whose_state_llama_cpp_cannot_give_or_take_are_refused(
    tiny: Model, open_context: OpenContext
) -> None:
    context = open_context(tiny)
    feed(context, text(tiny)[:80])
    state = context.save(0)
    for sequence in (-1, 4, 256):
        with pytest.raises(ValueError, match=f"sequence {sequence} is not one of the 4 whose state"):
            context.save(sequence)
        with pytest.raises(ValueError, match=f"sequence {sequence} is not one of the 4 whose state"):
            context.restore(sequence, state)
    with pytest.raises(ValueError, match="sequence 0 is not empty"):
        context.restore(0, state)
