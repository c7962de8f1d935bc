"""LoRA adapters: loaded, scaled, changed between decodes, and refused with a reason."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
import tiny_models
from loaded_models import OpenContext, load_model

from lmlab.errors import ModelLoadError
from lmlab.llama import Adapters, Context, Model

PROMPT = list(b"the quick brown fox jumps over the lazy dog")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model of its own: adapters are freed before it, and others' contexts have made no room for them."""
    return load_model(tiny_models.write_llama(tmp_path / "model.gguf"))


@pytest.fixture
def style(tmp_path: Path) -> str:
    return str(tiny_models.write_lora(tmp_path / "style.gguf"))


def count_freed(patch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets each adapter as it is given back."""
    freed: list[object] = []
    free = llama_cpp.llama_adapter_lora_free
    patch.setattr(llama_cpp, "llama_adapter_lora_free", lambda one: (freed.append(one), free(one)))
    return freed


def logits_after(context: Context, tokens: list[int]) -> np.ndarray:
    context.drop(0)
    context.batch.clear()
    row = context.batch.add(tokens, 0, 0, logits=True)
    context.decode()
    return context.logits(row).copy()


def test_an_adapter_changes_the_logits_as_much_as_its_scale_says(
    model: Model, style: str, open_context: OpenContext
) -> None:
    base = logits_after(open_context(model), PROMPT)
    adapters = Adapters(model, [style])
    context = open_context(model)
    np.testing.assert_array_equal(logits_after(context, PROMPT), base)
    context.set_adapters(adapters, [1.0])
    whole = logits_after(context, PROMPT)
    context.set_adapters(adapters, [0.01])
    little = logits_after(context, PROMPT)
    assert np.abs(whole - base).max() > 0.5
    assert 0 < np.abs(little - base).max() < np.abs(whole - base).max() / 5
    context.set_adapters(adapters, [0.0])
    np.testing.assert_array_equal(logits_after(context, PROMPT), base)
    context.set_adapters(adapters, [1.0])
    np.testing.assert_array_equal(logits_after(context, PROMPT), whole)


def test_adapters_add_up(model: Model, style: str, tmp_path: Path, open_context: OpenContext) -> None:
    other = str(tiny_models.write_lora(tmp_path / "other.gguf", seed=1))
    adapters = Adapters(model, [style, other])
    assert len(adapters) == 2
    context = open_context(model)
    seen = []
    for scales in ([0, 0], [1, 0], [0, 1], [1, 1]):
        context.set_adapters(adapters, scales)
        seen.append(logits_after(context, PROMPT))
    for number, one in enumerate(seen):
        for another in seen[:number]:
            assert np.abs(one - another).max() > 0.1


def test_a_change_counts_from_the_next_decode_on(model: Model, style: str, open_context: OpenContext) -> None:
    adapters = Adapters(model, [style])
    context = open_context(model)
    base = logits_after(context, PROMPT)
    context.set_adapters(adapters, [1.0])
    context.cut(0, len(PROMPT) - 1)
    context.batch.clear()
    row = context.batch.add(PROMPT[-1:], len(PROMPT) - 1, 0, logits=True)
    context.decode()
    mixed = context.logits(row).copy()
    whole = logits_after(context, PROMPT)
    assert np.abs(mixed - base).max() > 0.01
    assert np.abs(mixed - whole).max() > 0.01, "what was decoded before keeps the scale it was decoded at"


def test_as_many_scales_as_adapters(model: Model, style: str, open_context: OpenContext) -> None:
    adapters = Adapters(model, [style])
    context = open_context(model)
    with pytest.raises(ValueError, match="2 scales for 1 adapters"):
        context.set_adapters(adapters, [1.0, 1.0])
    none = Adapters(model, [])
    context.set_adapters(none, [])


def test_a_file_that_is_no_adapter_for_the_model_is_refused_with_the_reason(
    model: Model, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("not a model")
    whole = Path(style).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: len(whole) // 2])
    wide = tiny_models.write_lora(tmp_path / "wide.gguf", width=64)
    gemma = tiny_models.write_lora(tmp_path / "gemma.gguf", architecture="gemma2")
    other_model = tiny_models.write_llama(tmp_path / "other-model.gguf")
    for path, reason in (
        (tmp_path / "missing.gguf", "No such file"),
        (text, "it is no GGUF file"),
        (cut, r"it is no complete LoRA adapter for this model \(llama\)"),
        (wide, r"it is no complete LoRA adapter for this model \(llama\)"),
        (gemma, r"it is no complete LoRA adapter for this model \(llama\)"),
        (other_model, r"it is no complete LoRA adapter for this model \(llama\)"),
    ):
        with monkeypatch.context() as patch:
            freed = count_freed(patch)
            with pytest.raises(ModelLoadError, match=reason) as refused:
                Adapters(model, [style, str(path)])
        assert str(path) in str(refused.value)
        assert len(freed) == 1, "the good one before it is given back"


def test_closing_frees_each_adapter_once(model: Model, style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = count_freed(monkeypatch)
    adapters = Adapters(model, [style, style])
    adapters.close()
    adapters.close()
    assert len(freed) == 2
    assert len(adapters) == 0
