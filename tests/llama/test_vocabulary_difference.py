"""Which vocabularies are one."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from loaded_models import load_model

from lmlab.llama import Model
from lmlab.llama.vocabulary_difference import vocabulary_difference

TYPES = "tokenizer.ggml.token_type"


def with_values(folder: Path, **values: object) -> Model:
    return load_model(tiny_models.write_llama(folder / "other.gguf", seed=1, values=values))


def test_every_model_has_its_own(smollm2_model: Model, gemma3_model: Model, tiny: Model, tmp_path: Path) -> None:
    for model in (smollm2_model, gemma3_model, tiny):
        assert vocabulary_difference(model.vocabulary, model.vocabulary) is None
    assert vocabulary_difference(tiny.vocabulary, with_values(tmp_path).vocabulary) is None


def test_a_token_more_is_said(tiny: Model, tmp_path: Path) -> None:
    other = load_model(tiny_models.write_llama(tmp_path / "spm.gguf", tokenizer="spm"))
    difference = vocabulary_difference(tiny.vocabulary, other.vocabulary)
    assert difference == f"the first has 269 tokens and the second {other.vocabulary.size}"


@pytest.mark.parametrize("token", [0, 3, 268])
def test_the_first_token_that_differs_is_named(tiny: Model, tmp_path: Path, token: int) -> None:
    tokens = [tiny.vocabulary.text(number) for number in range(tiny.vocabulary.size)]
    spelled = tokens[token]
    tokens[token] = "日本"
    values = {"tokenizer.ggml.tokens": tokens}
    difference = vocabulary_difference(tiny.vocabulary, with_values(tmp_path, **values).vocabulary)
    kind = "control" if token == 268 else "normal"
    assert difference is not None
    assert difference.startswith(f"token {token} is {spelled!r} ({kind}) in the first and '日本'")


def test_the_kind_of_a_token_counts(tiny: Model, tmp_path: Path) -> None:
    kinds = [1] * 266 + [3] * 3
    kinds[40] = 4
    difference = vocabulary_difference(tiny.vocabulary, with_values(tmp_path, **{TYPES: kinds}).vocabulary)
    letter = tiny.vocabulary.text(40)
    assert difference == f"token 40 is {letter!r} (normal) in the first and {letter!r} (user-defined) in the second"


def test_how_a_text_begins_counts(tiny: Model, tmp_path: Path) -> None:
    values = {"tokenizer.ggml.add_bos_token": True}
    difference = vocabulary_difference(tiny.vocabulary, with_values(tmp_path, **values).vocabulary)
    assert difference == "the first begins a text with no token of its own and the second with token 268"
