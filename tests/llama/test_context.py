"""The KV cache of many sequences."""

from __future__ import annotations

import threading
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import tiny_models
from loaded_models import OpenContext, load_model

from lmlab.errors import ModelLoadError
from lmlab.llama import Context, DecodeStatus, Model
from lmlab.llama.context import KV_TYPES

PROMPT = list(b"the quick brown fox jumps over the lazy dog")


def feed(context: Context, tokens: list[int], *, position: int = 0, sequence: int = 0) -> np.ndarray:
    """Decode ``tokens`` and return the logits that follow."""
    context.batch.clear()
    row = context.batch.add(tokens, position, sequence, logits=True)
    assert context.decode() is DecodeStatus.DONE
    return context.logits(row).copy()


def test_it_has_the_room_asked_for(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny, context=300)
    assert context.size == 512, "llama.cpp pads to 256"
    assert context.batch.capacity == 64
    assert context.has_memory


def test_a_batch_is_no_larger_than_the_context(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny, context=256, batch=2048)
    assert context.batch.capacity == 256, "one row more would end the process"
    feed(context, (PROMPT * 10)[:256])


def test_sequences_are_independent_of_their_neighbours_in_a_batch(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    alone = [feed(open_context(tiny), PROMPT[start:]) for start in range(4)]
    context.batch.clear()
    rows = [context.batch.add(PROMPT[start : start + 10], 0, start, logits=False) for start in range(4)]
    assert context.decode() is DecodeStatus.DONE
    context.batch.clear()
    rows = [context.batch.add(PROMPT[start + 10 : start + 11], 10, start, logits=False) for start in range(4)]
    assert context.decode() is DecodeStatus.DONE
    for start in range(4):
        context.batch.clear()
        row = context.batch.add(PROMPT[start + 11 :], 11, start, logits=True)
        assert context.decode() is DecodeStatus.DONE
        np.testing.assert_allclose(context.logits(row), alone[start], atol=0.05)
    assert rows == [0, 1, 2, 3]


def test_a_row_that_asked_for_no_logits_has_none(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    for row in (0, len(PROMPT) - 2, len(PROMPT), 10_000):
        with pytest.raises(ValueError, match=f"row {row} of the batch has no logits"):
            context.logits(row)


def test_what_is_computed_of_a_row_is_kept_until_the_next_decode(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    first = feed(context, PROMPT)
    row = context.row(len(PROMPT) - 1)
    best = int(first.argmax())
    assert row.largest(1).tolist() == [best]
    before = row.log_probability(best)
    assert context.row(len(PROMPT) - 1) is row
    context.clear()
    second = feed(context, PROMPT[::-1])
    again = context.row(len(PROMPT) - 1)
    assert again.largest(1).tolist() == [int(second.argmax())]
    assert again.log_probability(best) != before


def test_shared_positions_continue_like_decoded_ones(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    context.share(0, 7, len(PROMPT))
    context.drop(0)
    context.share(7, 2, 20)
    assert [context.last_position(sequence) for sequence in (0, 7, 2)] == [-1, len(PROMPT) - 1, 19]
    shared = feed(context, PROMPT[20:], position=20, sequence=2)
    np.testing.assert_allclose(shared, feed(open_context(tiny), PROMPT), atol=0.05)


def test_a_cut_sequence_goes_on_from_there(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    assert context.cut(0, 12)
    assert context.last_position(0) == 11
    other = [*PROMPT[:12], 1, 2, 3]
    np.testing.assert_allclose(feed(context, other[12:], position=12), feed(open_context(tiny), other), atol=0.05)


def test_only_the_end_of_a_recurrent_sequence_is_held(tmp_path: Path, open_context: OpenContext) -> None:
    context = open_context(load_model(tiny_models.write_recurrent(tmp_path / "model.gguf")))
    feed(context, PROMPT)
    assert not context.cut(0, 12)
    assert context.cut(0, len(PROMPT)), "nothing lies after its end"
    context.share(0, 6, len(PROMPT))
    context.drop(0)
    context.share(6, 1, len(PROMPT))
    more = feed(context, [1, 2], position=len(PROMPT), sequence=1)
    whole = feed(open_context(load_model(tiny_models.write_recurrent(tmp_path / "model.gguf"))), [*PROMPT, 1, 2])
    np.testing.assert_allclose(more, whole, atol=0.05)


def test_a_sliding_window_model_keeps_what_left_the_window_while_there_is_room(
    tmp_path: Path, open_context: OpenContext
) -> None:
    model = load_model(tiny_models.write_sliding_window(tmp_path / "model.gguf", window=16))
    context = open_context(model, context=1024)
    for start in range(0, 900, 60):
        feed(context, [1] * 60, position=start)
    assert (context.first_position(0), context.last_position(0)) == (0, 899)


def test_ids_that_would_end_the_process_are_refused(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    for sequence in (-1, 256, 100_000):
        for ask in (
            lambda s=sequence: context.cut(s, 0),
            lambda s=sequence: context.drop(s),
            lambda s=sequence: context.share(s, 0, 1),
            lambda s=sequence: context.share(0, s, 1),
            lambda s=sequence: context.first_position(s),
            lambda s=sequence: context.last_position(s),
        ):
            with pytest.raises(ValueError, match=f"sequence {sequence} is not one of 256"):
                ask()
    with pytest.raises(ValueError, match="position -1 is negative"):
        context.cut(0, -1)
    with pytest.raises(ValueError, match="positions 0 to -1 are none"):
        context.share(0, 1, -1)
    with pytest.raises(ValueError, match="are more than 256"):
        open_context(tiny, sequences=250, idle=32)


def test_the_last_idle_id_can_hold_cells(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    context.share(0, 255, 5)
    assert (context.first_position(255), context.last_position(255)) == (0, 4)


def test_a_batch_that_is_wrong_fails_and_changes_nothing(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    wrong = [([tiny.vocabulary.size], len(PROMPT), 0), ([1], len(PROMPT) + 5, 0), ([1], 0, 200)]
    for tokens, position, sequence in wrong:
        context.batch.clear()
        context.batch.add(tokens, position, sequence, logits=True)
        assert context.decode() is DecodeStatus.FAILED
    context.batch.clear()
    assert context.decode() is DecodeStatus.FAILED, "an empty batch"
    np.testing.assert_allclose(
        feed(context, [1], position=len(PROMPT)), feed(open_context(tiny), [*PROMPT, 1]), atol=0.05
    )


def test_no_room_is_told_from_failure_and_changes_nothing(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    for start in range(0, 250, 50):
        feed(context, [1] * 50, position=start)
    context.batch.clear()
    context.batch.add(PROMPT, 0, 1, logits=True)
    assert context.decode() is DecodeStatus.NO_ROOM
    assert (context.last_position(0), context.last_position(1)) == (249, -1)
    context.drop(0)
    assert context.decode() is DecodeStatus.DONE


def test_an_interrupt_ends_the_next_decode_until_it_is_cleared(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    feed(context, PROMPT)
    thread = threading.Thread(target=context.interrupt)
    thread.start()
    thread.join()
    context.batch.clear()
    context.batch.add([1, 2, 3], len(PROMPT), 0, logits=True)
    assert context.decode() is DecodeStatus.INTERRUPTED
    assert context.decode() is DecodeStatus.INTERRUPTED
    context.clear_interrupt()
    context.cut(0, len(PROMPT))
    assert context.decode() is DecodeStatus.DONE


def test_an_interrupt_does_no_more_than_a_part_of_the_work(tiny: Model, open_context: OpenContext) -> None:
    """Counts graph nodes, as a clock would flicker: the flag is read after each one."""
    context = open_context(tiny)
    nodes = 0

    @llama_cpp.ggml_abort_callback
    def count(_: object) -> bool:
        nonlocal nodes
        nodes += 1
        return nodes == stop

    llama_cpp.llama_set_abort_callback(context.pointer, count, None)
    stop = -1
    feed(context, PROMPT)
    whole, nodes, stop = nodes, 0, 3
    context.batch.clear()
    context.batch.add(PROMPT, 0, 1, logits=True)
    assert context.decode() is DecodeStatus.INTERRUPTED
    assert nodes <= stop < whole


def test_warming_up_leaves_no_trace(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny)
    context.warm_up(0)
    assert context.last_position(0) == -1
    np.testing.assert_array_equal(feed(context, PROMPT), feed(open_context(tiny), PROMPT))


def test_a_context_that_llama_cpp_refuses_is_an_error(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_cpp, "llama_init_from_model", lambda *_: None)
    with pytest.raises(ModelLoadError, match="a context of 4,096 tokens: try a smaller one with --ctx-size"):
        Context(tiny, context=4096, sequences=1, idle=0, batch=64, threads=1)


def test_an_encoder_has_no_memory(tmp_path: Path, open_context: OpenContext) -> None:
    model = load_model(tiny_models.write_encoder(tmp_path / "encoder.gguf"))
    assert not open_context(model).has_memory


def test_logits_can_be_asked_for_of_several_rows_of_one_sequence(tiny: Model, open_context: OpenContext) -> None:
    context = open_context(tiny, sequences=2, outputs=6)
    assert context.outputs == 6
    context.batch.clear()
    rows = [context.batch.add([token], place, 0, logits=True) for place, token in enumerate(PROMPT[:6])]
    assert context.decode() is DecodeStatus.DONE
    together = [context.logits(row).copy() for row in rows]
    for place in range(6):
        np.testing.assert_allclose(together[place], feed(open_context(tiny), PROMPT[: place + 1]), atol=0.05)


def test_there_are_never_fewer_outputs_than_sequences(tiny: Model, open_context: OpenContext) -> None:
    assert open_context(tiny, sequences=4, outputs=1).outputs == 4


@pytest.fixture(scope="module")
def broad(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Attention heads as long as a quantized block."""
    path = tmp_path_factory.mktemp("models") / "broad.gguf"
    return load_model(tiny_models.write_llama(path, width=128))


@pytest.mark.parametrize("kind", KV_TYPES)
def test_every_kv_type_gives_about_the_same_logits(broad: Model, open_context: OpenContext, kind: str) -> None:
    whole = feed(open_context(broad, key_type="f32", value_type="f32"), PROMPT)
    stored = feed(open_context(broad, key_type=kind, value_type=kind), PROMPT)
    assert np.corrcoef(whole, stored)[0, 1] > 0.8
    keys_only = feed(open_context(broad, key_type=kind, flash_attention=False), PROMPT)
    assert np.corrcoef(whole, keys_only)[0, 1] > 0.8


def test_a_quantized_cache_is_another_cache(broad: Model, open_context: OpenContext) -> None:
    whole = feed(open_context(broad), PROMPT)
    stored = feed(open_context(broad, key_type="q4_0", value_type="q4_0"), PROMPT)
    assert np.abs(whole - stored).max() > 0.001


@pytest.mark.parametrize("flash", [None, True, False])
def test_flash_attention_changes_no_more_than_rounding(
    tiny: Model, open_context: OpenContext, flash: bool | None
) -> None:
    np.testing.assert_allclose(
        feed(open_context(tiny, flash_attention=flash), PROMPT), feed(open_context(tiny), PROMPT), atol=0.05
    )


def test_kv_types_that_llama_cpp_would_refuse_say_why(tiny: Model, broad: Model, open_context: OpenContext) -> None:
    with pytest.raises(ModelLoadError, match=r"q8_0 V cache needs flash attention.*--kv-type f16,f16"):
        open_context(broad, value_type="q8_0", flash_attention=False)
    for options, letter in (({"key_type": "q4_0"}, "K"), ({"value_type": "q4_0"}, "V")):
        with pytest.raises(ModelLoadError, match=f"a q4_0 {letter} cache keeps 32 values together.* heads have 8"):
            open_context(tiny, **options)


def test_a_context_of_a_model_without_weights_is_only_measured(tmp_path: Path, open_context: OpenContext) -> None:
    path = tiny_models.write_llama(tmp_path / "model.gguf")
    model = Model(str(path), gpu_layers=0, progress=lambda fraction: None, measure=True)
    assert open_context(model, context=4096).size == 4096
    assert model.size == load_model(path).size
