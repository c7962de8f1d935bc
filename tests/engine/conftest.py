"""Engines on tiny and on real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from engine_drive import OpenEngine
from loaded_models import THREADS, load_model

from lmlab.engine import KEPT_PREFIXES, Engine, reuse_policy
from lmlab.llama import Context, Model


@pytest.fixture
def open_engine() -> Iterator[OpenEngine]:
    """Makes engines as the worker does, but small; their contexts are closed after the test.

    ``spare``: rows with logits for drafts; ``options`` are the engine's.
    """
    opened: list[Context] = []

    def open_engine(
        model: Model, *, context: int = 512, sequences: int = 4, batch: int = 512, spare: int = 0, **options: object
    ) -> Engine:
        idle = KEPT_PREFIXES[reuse_policy(model)]
        opened.append(
            Context(
                model,
                context=context,
                sequences=sequences,
                idle=idle,
                batch=batch,
                threads=THREADS,
                outputs=sequences + spare,
            )
        )
        return Engine(model, opened[-1], **options)  # type: ignore[arg-type]

    yield open_engine
    for context in opened:
        context.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture(scope="session")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Every other layer attends to 16 positions."""
    return load_model(tiny_models.write_sliding_window(tmp_path_factory.mktemp("models") / "window.gguf", window=16))


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(tiny_models.write_recurrent(tmp_path_factory.mktemp("models") / "recurrent.gguf"))


@pytest.fixture(params=["tiny", "windowed", "recurrent"])
def any_tiny(request: pytest.FixtureRequest) -> Model:
    """A tiny model of each reuse policy."""
    model: Model = request.getfixturevalue(request.param)
    return model


@pytest.fixture(scope="session")
def smollm2_model(smollm2: Path) -> Model:
    return load_model(smollm2)


@pytest.fixture(scope="session")
def gemma3_model(gemma3: Path) -> Model:
    return load_model(gemma3)
