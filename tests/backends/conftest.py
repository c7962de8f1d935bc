from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_harness import Bench
from tiny_models import CHATML, write_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf", chat_template=CHATML)


@pytest.fixture
def open_model(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Open benches that are closed in the end."""
    benches: list[Bench] = []

    def open_it(path: Path | str, context: int = 1024, logs: Path | None = None, **options: object) -> Bench:
        benches.append(Bench(path, logs or tmp_path / "logs", context, **options))
        return benches[-1]

    yield open_it
    for bench in benches:
        bench.backend.close()


@pytest.fixture
def bench(open_model: Callable[..., Bench], tiny: Path) -> Bench:
    return open_model(tiny)
