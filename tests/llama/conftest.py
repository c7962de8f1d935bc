"""Models and contexts for the tests of the bindings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from loaded_models import THREADS, OpenContext, load_model

from lmlab.llama import Context, Model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny decoder with full attention and a byte-level BPE vocabulary."""
    return load_model(tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture
def open_context() -> Iterator[OpenContext]:
    """Makes small contexts, closed after the test."""
    opened: list[Context] = []

    def open_context(model: Model, **options: Any) -> Context:
        sizes: dict[str, Any] = {"context": 256, "sequences": 4, "idle": 4, "batch": 64, "threads": THREADS} | options
        opened.append(Context(model, **sizes))
        return opened[-1]

    yield open_context
    for context in opened:
        context.close()


@pytest.fixture(scope="session")
def smollm2_model(smollm2: Path) -> Model:
    return load_model(smollm2)


@pytest.fixture(scope="session")
def gemma3_model(gemma3: Path) -> Model:
    return load_model(gemma3)
