"""Loading a file, and what is known of it then."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import tiny_models
from loaded_models import library, load_model

from lmlab.errors import ModelLoadError
from lmlab.llama import Model

DAMAGE = {
    "empty": lambda data: b"",
    "text": lambda data: b"not a model\n" * 500,
    "only the magic": lambda data: data[:4],
    "cut in the header": lambda data: data[:100],
    "cut in half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "another version": lambda data: data[:4] + struct.pack("<I", 99) + data[8:],
    "absurd counts": lambda data: data[:8] + struct.pack("<QQ", 2**62, 2**62) + data[24:],
    "noise after the magic": lambda data: data[:4] + bytes(range(256)) * 40,
}


def load(path: Path | str) -> Model:
    library()
    return Model(str(path), gpu_layers=0, progress=lambda fraction: None)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    whole = tiny_models.write_llama(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "damaged.gguf"
    path.write_bytes(DAMAGE[damage](whole))
    with pytest.raises(ModelLoadError, match=r"could not load .*damaged\.gguf"):
        load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.gguf", tmp_path):
        with pytest.raises(ModelLoadError):
            load(path)


def test_a_file_of_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    path = tiny_models.write_llama(tmp_path / "model.gguf", values={"general.architecture": "nosuch"})
    with pytest.raises(ModelLoadError):
        load(path)


def test_a_name_in_any_script_is_opened(tmp_path: Path) -> None:
    model = load(tiny_models.write_llama(tmp_path / "mødel 模型 😀.gguf"))
    assert model.vocabulary.size > 0
    model.close()


def test_a_name_that_is_no_unicode_is_refused_like_any_other_missing_file() -> None:
    with pytest.raises(ModelLoadError):
        load("/nowhere/\udcff.gguf")


def test_progress_runs_to_one_and_stays_on_this_thread(tmp_path: Path) -> None:
    library()
    seen: list[float] = []
    Model(str(tiny_models.write_llama(tmp_path / "model.gguf")), gpu_layers=0, progress=seen.append).close()
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    long = "x" * 5000
    path = tiny_models.write_llama(
        tmp_path / "model.gguf",
        chat_template=tiny_models.CHATML,
        values={"general.sampling.temp": 0.25, "general.description": long},
    )
    model = load_model(path)
    assert model.chat_template == tiny_models.CHATML
    assert model.metadata("general.architecture") == "llama"
    assert float(model.metadata("general.sampling.temp") or "") == 0.25
    assert model.metadata("general.description") == long
    assert model.metadata("no.such.key") is None
    assert model.context_trained == tiny_models.CONTEXT
    assert model.layers == tiny_models.BLOCKS
    assert 0 < model.size < path.stat().st_size


def test_a_base_model_has_no_chat_template(tiny: Model, gemma3_model: Model, smollm2_model: Model) -> None:
    assert tiny.chat_template is None
    assert gemma3_model.chat_template is None
    assert "im_start" in (smollm2_model.chat_template or "")


def test_kinds_of_memory(tmp_path: Path, tiny: Model, gemma3_model: Model) -> None:
    recurrent = load_model(tiny_models.write_recurrent(tmp_path / "recurrent.gguf"))
    windowed = load_model(tiny_models.write_sliding_window(tmp_path / "window.gguf", window=24))
    kinds = [(model.recurrent, model.sliding_window) for model in (tiny, recurrent, windowed, gemma3_model)]
    assert kinds == [(False, 0), (True, 0), (False, 24), (False, 512)]
