from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import Hub, Server
from model_stores import Stores
from tiny_gguf import write_gguf

from lmlab.settings import Paths


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
