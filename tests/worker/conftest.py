from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import CHATML, write_llama
from vocabulary_reader import Reader, read

from lmlab.llama import Library


@pytest.fixture(scope="session")
def library() -> Library:
    return Library(lambda _level, _line: None, lambda _message: None)


@pytest.fixture(scope="session")
def smol(library: Library, smollm2: Path) -> Reader:
    """SmolLM2: byte-level BPE, no BOS, a ChatML template."""
    return read(smollm2)


@pytest.fixture(scope="session")
def gemma(library: Library, gemma3: Path) -> Reader:
    """Gemma 3: SentencePiece, BOS, no template in this file."""
    return read(gemma3)


@pytest.fixture(scope="session")
def spaced(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """A tiny SentencePiece vocabulary that puts a space before a text, as Llama 2's does."""
    return read(write_llama(tmp_path_factory.mktemp("spaced") / "spaced.gguf", tokenizer="spm", chat_template=CHATML))
