"""Aliases in the config file: one line changes and nothing else."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.errors import UsageError
from lmlab.models.alias_file import check_name, remove_alias, set_alias
from lmlab.settings import load_config

FILE = """# mine
model = "smollm2"   # the usual one

[aliases]   # short names
# the quick one
fast = "hf:a/b:Q4_0"  # four bits
"q.5" = 'x'

[sampling]
temperature = 0.5 # warm
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.mark.parametrize(
    ("before", "name", "ref", "after"),
    [
        ("", "new", "hf:c/d", '[aliases]\nnew = "hf:c/d"\n'),
        ('model = "a"', "new", "b", 'model = "a"\n\n[aliases]\nnew = "b"\n'),
        ("[aliases]", "new", "b", '[aliases]\nnew = "b"\n'),
        ("[aliases]\n\n[sampling]\n", "new", "b", '[aliases]\nnew = "b"\n\n[sampling]\n'),
        (FILE, "new", "b", FILE.replace("'x'\n", "'x'\nnew = \"b\"\n")),
        (FILE, "fast", "b", FILE.replace('"hf:a/b:Q4_0"', '"b"')),
        (FILE, "q.5", "b", FILE.replace("'x'", '"b"')),
        (FILE, "größe", "/m/ö.gguf", FILE.replace("'x'\n", '\'x\'\n"größe" = "/m/ö.gguf"\n')),
        ('[ aliases ]\nfast="x"', "fast", 'C:\\m "1".gguf', '[ aliases ]\nfast = "C:\\\\m \\"1\\".gguf"\n'),
        (FILE.replace("\n", "\r\n"), "fast", "b", FILE.replace('"hf:a/b:Q4_0"', '"b"').replace("\n", "\r\n")),
    ],
)
def test_setting_changes_one_line(config: Path, before: str, name: str, ref: str, after: str) -> None:
    config.write_bytes(before.encode())

    set_alias(config, name, ref)

    assert config.read_bytes().decode() == after
    assert load_config(config).aliases[name] == ref
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize(
    ("name", "after"),
    [("fast", FILE.replace('fast = "hf:a/b:Q4_0"  # four bits\n', "")), ("q.5", FILE.replace("\"q.5\" = 'x'\n", ""))],
)
def test_removing_takes_one_line(config: Path, name: str, after: str) -> None:
    config.write_text(FILE)

    remove_alias(config, name)

    assert config.read_text() == after
    assert name not in load_config(config).aliases


def test_no_file_is_made_readable_by_its_owner_only(tmp_path: Path) -> None:
    config = tmp_path / "new" / "config.toml"

    set_alias(config, "fast", "smollm2")

    assert load_config(config).aliases == {"fast": "smollm2"}
    if sys.platform != "win32":
        assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_a_link_and_the_files_rights_stay(tmp_path: Path, config: Path) -> None:
    kept = tmp_path / "dotfiles"
    kept.mkdir()
    (kept / "lmlab.toml").write_text(FILE)
    (kept / "lmlab.toml").chmod(0o640)
    config.symlink_to(kept / "lmlab.toml")

    set_alias(config, "new", "b")

    assert config.is_symlink()
    assert load_config(config).aliases["new"] == "b"
    if sys.platform != "win32":
        assert stat.S_IMODE((kept / "lmlab.toml").stat().st_mode) == 0o640


def test_removing_what_is_not_there_says_what_is(config: Path) -> None:
    config.write_text(FILE)

    with pytest.raises(UsageError, match=r"no alias 'slow': there are fast, q.5"):
        remove_alias(config, "slow")
    assert config.read_text() == FILE


@pytest.mark.parametrize(
    "written",
    [
        'aliases = { fast = "a" }\n',
        'aliases.fast = "a"\n',
        '[aliases]\nfast = """\na"""\n',
        'model = """\n[aliases]\n"""\n',
        '[aliases]\n"fa\\u0073t" = "a"\nfast.x = 1\n',
    ],
)
def test_a_form_that_is_not_edited_is_left_alone_and_said(config: Path, written: str) -> None:
    config.write_text(written)

    with pytest.raises(
        UsageError, match=r"(change \[aliases\] in it yourself: fast = \"b\"|cannot read the config file)"
    ):
        set_alias(config, "fast", "b")
    assert config.read_text() == written


def test_a_file_that_cannot_be_replaced_stays_whole(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(FILE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(UsageError, match=r"cannot write the config file .*No space left"):
        set_alias(config, "new", "b")
    assert config.read_text() == FILE
    assert list(config.parent.iterdir()) == [config]


def test_a_disk_that_is_read_only_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    # There, removing what was never made is an error, too.
    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)

    with pytest.raises(UsageError, match=r"cannot write the config file .*Read-only file system"):
        set_alias(config, "a", "b")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "hf:a", "a/b", "a\\b", "-a", "a@b", "a,b", "a=b", "a'b", "a\x1b", "a\nb"]
)
def test_what_could_be_another_reference_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="is no name for an alias"):
        check_name(name)


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.from_regex(r"[a-zäé0-9_.-]{1,6}", fullmatch=True).filter(lambda name: name[0] != "-"), st.text(max_size=9)
    ),
    st.from_regex(r"[a-zäé0-9_.]{1,3}", fullmatch=True),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)
def test_any_table_holds_what_it_held_and_the_new_one(
    tmp_path_factory: pytest.TempPathFactory, there: dict[str, str], name: str, ref: str
) -> None:
    config = tmp_path_factory.mktemp("config") / "config.toml"
    for known, target in there.items():
        set_alias(config, known, target)
    set_alias(config, name, ref)

    assert tomllib.loads(config.read_text(encoding="utf-8"))["aliases"] == {**there, name: ref}

    remove_alias(config, name)
    assert tomllib.loads(config.read_text(encoding="utf-8"))["aliases"] == {k: v for k, v in there.items() if k != name}
