"""Ollama's store and LM Studio's folder, as they are on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from model_stores import Stores

from lmlab.errors import ModelNotFound, UsageError
from lmlab.models import lm_studio, ollama, resolve
from lmlab.models.ollama import OllamaReference
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]


def names() -> list[str]:
    return [model.name for model in ollama.installed(dict(os.environ))]


def test_names_are_those_that_ollama_shows(stores: Stores) -> None:
    for number, name in enumerate(
        (
            "registry.ollama.ai/library/llama3.2/1b",
            "registry.ollama.ai/someone/tuned/latest",
            "hf.co/bartowski/Qwen2.5-1.5B-Instruct-GGUF/Q4_K_M",
        )
    ):
        stores.add_ollama(name, bytes([number]))
    stores.add_ollama("ollama.com/library/newer/latest", b"n", folder="manifests-v2")
    stores.add_ollama("registry.ollama.ai/library/older/latest", b"o", mark=":")

    assert names() == [
        "hf.co/bartowski/Qwen2.5-1.5B-Instruct-GGUF:Q4_K_M",
        "llama3.2:1b",
        "newer:latest",
        "older:latest",
        "someone/tuned:latest",
    ]


@pytest.mark.parametrize(
    "typed", ["tiny", "tiny:latest", "TINY", "library/tiny", "registry.ollama.ai/library/tiny:latest"]
)
def test_a_name_is_completed_as_ollama_does(stores: Stores, typed: str) -> None:
    blob = stores.add_ollama("registry.ollama.ai/library/tiny/latest", b"data")

    assert ollama.find(OllamaReference(typed), dict(os.environ)).path == blob


def test_another_tag_is_not_the_model(stores: Stores) -> None:
    stores.add_ollama("registry.ollama.ai/library/tiny/8b", b"data")

    with pytest.raises(ModelNotFound, match=r"no tiny:latest here, it holds tiny:8b: fetch it with `ollama pull tiny`"):
        ollama.find(OllamaReference("tiny"), dict(os.environ))


def test_no_store_is_said_with_its_place(stores: Stores) -> None:
    with pytest.raises(ModelNotFound) as error:
        ollama.find(OllamaReference("tiny"), dict(os.environ))
    assert str(stores.ollama) in str(error.value)


@pytest.mark.parametrize(
    "manifest",
    [
        "not json",
        "[]",
        json.dumps(
            {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}]}
        ),
        json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 7}]}),
        json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "0" * 64}]}),
        json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.tensor", "digest": "sha256:" + "0" * 64}]}),
    ],
)
def test_a_manifest_without_a_gguf_hides_no_other(stores: Stores, manifest: str) -> None:
    stores.add_ollama("registry.ollama.ai/library/good/latest", b"data")
    (stores.ollama / "manifests/registry.ollama.ai/library/good/bad").write_text(manifest)

    assert names() == ["good:latest"]


def test_the_store_is_not_written(stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    stores.add_ollama("registry.ollama.ai/library/tiny/latest", make_gguf())
    before = {path: path.stat().st_mtime_ns for path in stores.ollama.rglob("*")}

    found = resolve("ollama:tiny", paths=paths, config=Config(), environ=dict(os.environ))

    assert (found.ref, found.header.name, found.notice) == ("ollama:tiny", "Tiny", None)
    assert {path: path.stat().st_mtime_ns for path in stores.ollama.rglob("*")} == before


def test_an_adapter_that_is_left_out_is_said(stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    stores.add_ollama("registry.ollama.ai/library/tiny/latest", make_gguf(), adapter=b"adapter")

    notice = resolve("ollama:tiny", paths=paths, config=Config(), environ=dict(os.environ)).notice

    assert notice is not None
    assert "not applied: for it give --lora " in notice


@pytest.mark.parametrize("text", ["", " ", "../x", "a/b/c/d", "a b", "a:b:c:d", "/a", "a/"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write it as ollama:name"):
        ollama.parse_name(text)


def test_lm_studios_folders_old_new_pointed_at_and_chosen(stores: Stores, tmp_path: Path) -> None:
    assert lm_studio.model_folders() == []
    chosen, pointed = tmp_path / "chosen", tmp_path / "pointed"
    old, new = stores.home / ".cache/lm-studio/models", stores.home / ".lmstudio/models"
    for folder in (chosen, pointed / "models", old, new):
        folder.mkdir(parents=True)
    (stores.home / ".lmstudio-home-pointer").write_text(f"{pointed}\n")
    (pointed / "settings.json").write_text(json.dumps({"downloadsFolder": str(chosen)}))
    (stores.home / ".lmstudio/settings.json").write_text("{ half")

    assert lm_studio.model_folders() == [chosen, pointed / "models", new, old]
