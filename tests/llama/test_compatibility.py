"""Which models may draft for which."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from loaded_models import load_model

from lmlab.errors import ModelLoadError
from lmlab.llama import Model
from lmlab.llama.compatibility import check_draft

END = "tokenizer.ggml.eos_token_id"
BEGINNING = "tokenizer.ggml.bos_token_id"
ADD_BEGINNING = "tokenizer.ggml.add_bos_token"
ADD_END = "tokenizer.ggml.add_eos_token"
TOKENS = "tokenizer.ggml.tokens"


def tiny_tokens(model: Model) -> list[str]:
    return [model.vocabulary.text(token) for token in range(model.vocabulary.size)]


def with_values(folder: Path, **values: object) -> Model:
    return load_model(tiny_models.write_llama(folder / "draft.gguf", seed=1, values=values))


def test_a_model_may_draft_for_itself(smollm2_model: Model, gemma3_model: Model, tiny: Model) -> None:
    for model in (smollm2_model, gemma3_model, tiny):
        check_draft(model, model)


def test_another_model_of_the_same_vocabulary_may(tiny: Model, tmp_path: Path) -> None:
    check_draft(tiny, with_values(tmp_path))
    check_draft(tiny, load_model(tiny_models.write_sliding_window(tmp_path / "window.gguf")))


def test_a_model_of_another_family_may_not(smollm2_model: Model, gemma3_model: Model) -> None:
    for target, draft in ((smollm2_model, gemma3_model), (gemma3_model, smollm2_model)):
        with pytest.raises(ModelLoadError, match="kind of vocabulary differs; use a smaller model of the same family"):
            check_draft(target, draft)


def test_a_vocabulary_of_another_size_may_not(smollm2_model: Model, tiny: Model) -> None:
    with pytest.raises(ModelLoadError, match=rf"vocabulary has {tiny.vocabulary.size} tokens, not 49,152"):
        check_draft(smollm2_model, tiny)


def test_a_token_that_means_something_else_is_named(tiny: Model, tmp_path: Path) -> None:
    tokens = tiny_tokens(tiny)
    assert len(set(tokens)) == len(tokens)
    tokens[200] = "other"
    draft = with_values(tmp_path, **{TOKENS: tokens})
    with pytest.raises(ModelLoadError, match="its token 200 is 'other', not"):
        check_draft(tiny, draft)


def test_the_first_tokens_and_a_longer_vocabulary_may_differ(tiny: Model, tmp_path: Path) -> None:
    tokens = tiny_tokens(tiny)
    tokens[4] = "other"
    check_draft(tiny, with_values(tmp_path, **{TOKENS: tokens}))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({ADD_BEGINNING: True}, "use of a beginning token differs"),
        ({ADD_END: True}, "use of an end token differs"),
    ],
)
def test_beginning_and_end_must_be_used_alike(
    tiny: Model, tmp_path: Path, values: dict[str, object], reason: str
) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        check_draft(tiny, with_values(tmp_path, **values))


@pytest.mark.parametrize(
    ("used", "name", "reason"),
    [(ADD_BEGINNING, BEGINNING, "its beginning token is 7, not"), (ADD_END, END, "its end token is 7, not")],
)
def test_where_used_beginning_and_end_must_be_the_same(tmp_path: Path, used: str, name: str, reason: str) -> None:
    target = load_model(tiny_models.write_llama(tmp_path / "target.gguf", values={used: True}))
    with pytest.raises(ModelLoadError, match=reason):
        check_draft(target, with_values(tmp_path, **{used: True, name: 7}))


def test_a_memory_that_cannot_be_cut_back_may_not(tiny: Model, tmp_path: Path) -> None:
    draft = load_model(tiny_models.write_recurrent(tmp_path / "recurrent.gguf"))
    with pytest.raises(ModelLoadError, match="recurrent state, which cannot be cut back"):
        check_draft(tiny, draft)


def test_a_model_without_a_vocabulary_may_not(tiny: Model, tmp_path: Path) -> None:
    draft = load_model(tiny_models.write_llama(tmp_path / "none.gguf", tokenizer="none"))
    with pytest.raises(ModelLoadError, match="has no vocabulary"):
        check_draft(tiny, draft)
