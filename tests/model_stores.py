"""Models as other programs keep them on disk, made small: Ollama's store, LM Studio's folder, Hugging Face's cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

COMMIT = "c" * 40


class Stores:
    """A person's own folder, ``home``, and what is in it. Nothing of the person who runs the tests is looked at."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.ollama = home / ".ollama" / "models"
        self.cache = home / "hf" / "hub"
        for name in ("HOME", "USERPROFILE"):
            monkeypatch.setenv(name, str(home))
        monkeypatch.setenv("OLLAMA_MODELS", str(self.ollama))
        monkeypatch.setenv("HF_HUB_CACHE", str(self.cache))

    def add_ollama(
        self, name: str, data: bytes, *, folder: str = "manifests", adapter: bytes | None = None, mark: str = "-"
    ) -> Path:
        """Add a model called HOST/NAMESPACE/MODEL/TAG; return its blob."""
        layers = [("model", data), ("template", b"{{ .Prompt }}")]
        if adapter is not None:
            layers.append(("adapter", adapter))
        listed, blobs = [], []
        (self.ollama / "blobs").mkdir(parents=True, exist_ok=True)
        for kind, content in layers:
            digest = hashlib.sha256(content).hexdigest()
            blobs.append(self.ollama / "blobs" / f"sha256{mark}{digest}")
            blobs[-1].write_bytes(content)
            media = f"application/vnd.ollama.image.{kind}"
            listed.append({"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)})
        manifest = self.ollama / folder / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": listed}))
        return blobs[0]

    def add_lm_studio(self, name: str, data: bytes) -> Path:
        return _written(self.home / ".lmstudio" / "models" / name, data)

    def add_cached(self, repo: str, name: str, data: bytes, *, commit: str = COMMIT) -> Path:
        """Add a file as the library does: a blob, and a link to it in the snapshot that the main branch means."""
        folder = self.cache / f"models--{repo.replace('/', '--')}"
        blob = _written(folder / "blobs" / hashlib.sha256(data).hexdigest(), data)
        _written(folder / "refs" / "main", COMMIT.encode())
        pointer = folder / "snapshots" / commit / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.symlink_to(blob)
        return pointer


def _written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
