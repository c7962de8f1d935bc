from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from lmlab.errors import UsageError
from lmlab.sampling import SamplingParams
from lmlab.settings import Config, Paths, expanded, load_config, private_folder, write_private

unix_modes = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_lmlab_home_holds_everything(tmp_path: Path) -> None:
    paths = Paths.find({"LMLAB_HOME": str(tmp_path)})
    files = [paths.config, paths.database, paths.last_model, paths.history]
    everything = [*files, paths.data, paths.logs, paths.models, paths.snapshots]
    assert all(path.is_relative_to(tmp_path) for path in everything)
    assert len(set(everything)) == len(everything)
    assert paths.config == tmp_path / "config.toml"


def test_lmlab_home_may_be_relative_or_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Paths.find({"LMLAB_HOME": "here"}).data == tmp_path / "here"
    assert Paths.find({"LMLAB_HOME": "~/there"}).data == Path.home() / "there"


@pytest.mark.parametrize("environ", [{}, {"LMLAB_HOME": ""}])
def test_without_lmlab_home_the_platform_says_where(environ: dict[str, str]) -> None:
    paths = Paths.find(environ)
    assert paths.data.is_absolute()
    assert all("lmlab" in path.parts for path in (paths.config, paths.data, paths.logs, paths.snapshots))


@unix_modes
def test_every_folder_made_is_private_and_none_that_was_there_is_changed(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    made = private_folder(there / "a" / "b")
    assert made == there / "a" / "b"
    assert [mode(path) for path in (there, there / "a", made)] == [0o755, 0o700, 0o700]
    assert private_folder(made) == made


@pytest.mark.parametrize("below", ["", "inside/deeper"])
def test_a_file_where_a_folder_should_be_is_a_usage_error(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match=r"cannot make the folder .*LMLAB_HOME") as caught:
        private_folder(file / below)
    assert "None" not in str(caught.value)
    assert file.read_text() == "mine"


@unix_modes
def test_what_is_written_is_private_also_over_a_file_that_was_not(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_private(path, "one é")
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    path.chmod(0o644)
    write_private(path, "two")
    assert (mode(path), path.read_text(encoding="utf-8")) == (0o600, "two")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "new" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, "old")
    with path.open(encoding="utf-8") as reader:
        if sys.platform != "win32":
            write_private(path, "new")
        assert reader.read() == "old"


def write_config(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_no_config_is_an_empty_one(tmp_path: Path) -> None:
    assert load_config(tmp_path / "config.toml") == Config()


def test_a_whole_config(tmp_path: Path) -> None:
    text = (
        'model = "mine"\nsystem = "Be brief."\ntheme = "nord"\n'
        '[sampling]\ntemperature = 0.2\ntop_k = 5\nstop = ["###"]\n[aliases]\nmine = "hf:a/b"\n'
        '[keys]\ntokens = "f5"\nquit = ["ctrl+q", "alt+q"]\n'
    )
    assert load_config(write_config(tmp_path, text)) == Config(
        model="mine",
        system="Be brief.",
        theme="nord",
        sampling=SamplingParams(temperature=0.2, top_k=5, stop=("###",)),
        aliases={"mine": "hf:a/b"},
        keys={"tokens": ("f5",), "quit": ("ctrl+q", "alt+q")},
    )


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        ("'0'", 0),
        ("'2 GB'", 2_000_000_000),
        ("'1.5gb'", 1_500_000_000),
        ("' 500 MiB '", 500 << 20),
        ("'3 T'", 3 * 10**12),
        ("'10 kB'", 10_000),
    ],
)
def test_a_size_is_written_as_people_write_it(tmp_path: Path, written: str, size: int) -> None:
    assert load_config(write_config(tmp_path, f"snapshot_budget = {written}")).snapshot_budget == size


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model = 3", "model must be a text"),
        ("system = ['x']", "system must be a text"),
        ("theme = true", "theme must be a text"),
        ("sampling = 3", r"\[sampling\]"),
        ("aliases = 'x'", r"\[aliases\]"),
        ("keys = 'x'", r"\[keys\]"),
        ("[keys]\ntokens = 5", r"\[keys\] tokens must be a key in quotes, such as \"ctrl\+t\", or a list"),
        ("[keys]\ntokens = ['f5', 6]", r"\[keys\] tokens must be a key in quotes"),
        ("[aliases]\nmine = 3", "alias mine"),
        ("snapshot_budget = 'big'", "snapshot_budget 'big' is no size: .* such as \"2 GB\", or 0"),
        ("snapshot_budget = 2", "snapshot_budget 2 is no size"),
        ("snapshot_budget = '2'", "snapshot_budget '2' is no size"),
        ("snapshot_budget = '-2 GB'", "snapshot_budget '-2 GB' is no size"),
        ("snapshot_budget = '1e3 GB'", "snapshot_budget '1e3 GB' is no size"),
        ("snapshot_budget = false", "snapshot_budget False is no size"),
        ("snapshot_budget = []", r"snapshot_budget \[\] is no size"),
        ("colour = 'red'", "unknown key 'colour'"),
        ("[sampling]\ntemperature = -1", r"\[sampling\] temperature -1"),
        ("[sampling]\ntemperature = 'hot'", r"\[sampling\] temperature 'hot'"),
        ("[sampling]\ntop_p = nan", r"\[sampling\] top-p nan"),
        ("[sampling]\nheat = 1", r"\[sampling\] .*'heat'"),
        ("[sampling]\nstop = '###'", r"\[sampling\] stop '###'"),
        ("[sampling]\nstop = 5", r"\[sampling\] stop 5"),
        ("model = \nsystem = 1", "line 1"),
        (b"model = '\xff'", "decode"),
    ],
)
def test_a_wrong_config_names_the_file_and_the_key(tmp_path: Path, text: str | bytes, named: str) -> None:
    path = write_config(tmp_path, text)
    with pytest.raises(UsageError, match=named) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_is_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the config file"):
        load_config(tmp_path)


@pytest.mark.parametrize("text", ["~no-such-user-here/x", "a\0b", "caf\udce9"])
def test_what_can_be_no_path_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        expanded(text)
    assert "\n" not in str(caught.value)


def test_a_path_follows_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x"
