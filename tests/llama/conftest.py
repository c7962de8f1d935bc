"""Models and contexts for the tests of the bindings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from loaded_models import OpenContext, load_model, opened_contexts

from lmlab.llama import Model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny decoder with full attention and a byte-level BPE vocabulary."""
    return load_model(tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture
def open_context() -> Iterator[OpenContext]:
    """Makes small contexts, closed after the test."""
    with opened_contexts(context=256, idle=4, batch=64) as opened:
        yield opened


@pytest.fixture(scope="session")
def smollm2_model(smollm2: Path) -> Model:
    return load_model(smollm2)


@pytest.fixture(scope="session")
def gemma3_model(gemma3: Path) -> Model:
    return load_model(gemma3)
