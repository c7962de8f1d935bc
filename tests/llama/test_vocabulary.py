"""Text to tokens and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny_models
from loaded_models import load_model

from lmlab.llama import Model, Vocabulary

TEXTS = [
    "",
    "hello world",
    " leading and trailing ",
    "naïve café — 日本語 עברית",
    "👩‍👩‍👧‍👦 family, 🇳🇴 flag, 😀",
    "tab\tnewline\ncarriage\r\n\n\n",
    "nul \x00 inside",
    "def f(x):\n    return x ** 2  # no\n",
]


def spell(vocabulary: Vocabulary, ids: list[int], *, special: bool = False) -> str:
    return b"".join(vocabulary.piece(token, special=special) for token in ids).decode("utf-8")


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_the_way_to_tokens_and_back(smollm2_model: Model, gemma3_model: Model, text: str) -> None:
    for model in (smollm2_model, gemma3_model):
        vocabulary = model.vocabulary
        assert spell(vocabulary, vocabulary.tokenize(text, special=False)) == text


def test_an_emoji_is_split_over_tokens_that_are_no_characters_alone(smollm2_model: Model) -> None:
    vocabulary = smollm2_model.vocabulary
    pieces = [vocabulary.piece(token) for token in vocabulary.tokenize("🫠", special=False)]
    assert len(pieces) > 1
    assert b"".join(pieces).decode("utf-8") == "🫠"


def test_a_special_token_is_one_token_only_when_asked_for(smollm2_model: Model) -> None:
    vocabulary = smollm2_model.vocabulary
    (end,) = vocabulary.tokenize("<|im_end|>", special=True)
    assert vocabulary.is_end(end)
    assert vocabulary.text(end) == "<|im_end|>"
    assert vocabulary.piece(end) == b""
    assert vocabulary.piece(end, special=True) == b"<|im_end|>"
    as_text = vocabulary.tokenize("<|im_end|>", special=False)
    assert len(as_text) > 1
    assert all(map(vocabulary.piece, as_text))
    assert spell(vocabulary, as_text) == "<|im_end|>"


def test_bos_is_never_added_by_the_tokenizer(gemma3_model: Model) -> None:
    vocabulary = gemma3_model.vocabulary
    assert vocabulary.add_bos
    assert vocabulary.bos not in vocabulary.tokenize("hello", special=True)


@pytest.mark.parametrize("tokenizer", ["bpe", "spm"])
def test_a_piece_longer_than_any_guess_is_whole(tmp_path: Path, tokenizer: tiny_models.Tokenizer) -> None:
    vocabulary = load_model(tiny_models.write_llama(tmp_path / "model.gguf", tokenizer=tokenizer)).vocabulary
    pieces = [vocabulary.piece(token) for token in range(vocabulary.size)]
    assert tiny_models.LONG_PIECE.encode() in pieces


def test_a_sentencepiece_vocabulary_spells_unknown_characters_as_bytes(tmp_path: Path) -> None:
    vocabulary = load_model(tiny_models.write_llama(tmp_path / "model.gguf", tokenizer="spm")).vocabulary
    assert spell(vocabulary, vocabulary.tokenize("hello 😀", special=False)) == " hello 😀"


@pytest.mark.parametrize("beyond", [-1, -(2**31), 0, 10**9])
def test_an_id_out_of_range_is_refused(tiny: Model, beyond: int) -> None:
    vocabulary = tiny.vocabulary
    token = beyond if beyond else vocabulary.size
    for ask in (vocabulary.piece, vocabulary.is_end):
        with pytest.raises(ValueError, match=f"token {token} is not in a vocabulary of {vocabulary.size}"):
            ask(token)
    assert vocabulary.text(token) == ""


def test_text_that_is_no_unicode_is_refused(tiny: Model) -> None:
    with pytest.raises(UnicodeEncodeError):
        tiny.vocabulary.tokenize("\udcff", special=False)


def test_threads_do_not_mix_their_pieces(smollm2_model: Model) -> None:
    vocabulary = smollm2_model.vocabulary
    text = "One two three, antidisestablishmentarianism. " * 200
    ids = vocabulary.tokenize(text, special=False)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: spell(vocabulary, ids), range(8))) == [text] * 8


def test_a_file_without_a_vocabulary_has_no_tokens(tmp_path: Path) -> None:
    vocabulary = load_model(tiny_models.write_llama(tmp_path / "model.gguf", tokenizer="none")).vocabulary
    assert vocabulary.size == 0
    with pytest.raises(ValueError, match="not in a vocabulary of 0"):
        vocabulary.piece(0)
