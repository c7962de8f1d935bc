from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import REPO, Hub, Server
from model_stores import Stores
from tiny_gguf import write_gguf

from lmlab.models import resolve
from lmlab.settings import Config, Paths


@pytest.fixture
def paths(home: Path) -> Paths:
    return Paths(config=home / "config.toml", data=home, logs=home / "logs")


@pytest.fixture
def make_gguf(tmp_path: Path) -> Callable[..., bytes]:
    """Return the bytes of a small model; ``seed`` makes them differ, ``rows`` makes them many."""

    def make(seed: int = 0, rows: int = 4) -> bytes:
        return write_gguf(tmp_path / "made.gguf", seed=seed, rows=rows).read_bytes()

    return make


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """A person's own folder, empty, in which other programs keep models."""
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    """A hub that lmlab is pointed at, with an empty cache, an unknown person and no waiting between tries."""
    from huggingface_hub import close_session, constants

    server = Server()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", server.hub.url)
    # The library reads these once, when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
    monkeypatch.setattr("lmlab.models.transfer.RETRY_PAUSE_S", 0.0)
    yield server.hub
    close_session()
    server.close()


@pytest.fixture
def files(hub: Hub, make_gguf: Callable[..., bytes]) -> dict[str, bytes]:
    """The repository on the hub: three quantizations, one of them in a folder and in parts, and what is no model."""
    hub.repos[REPO] = {
        "README.md": b"a model",
        "Tiny.Q4_K_M.gguf": make_gguf(1, rows=8000),
        "Tiny.Q8_0.gguf": make_gguf(2),
        "mmproj-Tiny-Q8_0.gguf": make_gguf(3),
        "BF16/Tiny-BF16-00001-of-00002.gguf": make_gguf(4),
        "BF16/Tiny-BF16-00002-of-00002.gguf": make_gguf(5),
    }
    return hub.repos[REPO]


@pytest.fixture
def pull(paths: Paths) -> Callable[..., Path]:
    """Resolve a reference and return the file."""

    def pull(ref: str, **options: object) -> Path:
        return resolve(ref, paths=paths, config=Config(), environ=dict(os.environ), **options).path  # type: ignore[arg-type]

    return pull
