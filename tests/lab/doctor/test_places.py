"""Where lmlab keeps its files: folders that cannot be written to, that others can read, and disks that are full."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from lmlab.lab.doctor.finding import Finding
from lmlab.lab.doctor.places import check
from lmlab.settings import Paths, private_folder, write_private

unix = pytest.mark.skipif(sys.platform == "win32", reason="needs Unix permissions")


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def paths(home: Path) -> Paths:
    return Paths.find()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Within, be a user whom permissions bind: the administrator may do everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def looked(paths: Paths) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(paths, {"HF_HOME": str(paths.data / "hf")})}


def test_a_first_start_has_nothing_wrong(paths: Paths) -> None:
    found = looked(paths)
    assert {name: finding.level for name, finding in found.items()} == {"data": "ok", "logs": "ok", "disk": "ok"}
    assert found["data"].text == f"{paths.data} (made when it is first needed)"
    assert not paths.data.exists()


def test_what_lmlab_makes_is_private_and_writable(paths: Paths) -> None:
    for folder in (paths.data, paths.models, paths.logs, paths.snapshots):
        private_folder(folder)
    write_private(paths.history, "")
    found = looked(paths)
    assert {finding.level for finding in found.values()} == {"ok"}
    assert {"data", "models", "logs", "snapshots"} <= set(found)
    assert list(paths.logs.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_broken(paths: Paths) -> None:
    private_folder(paths.data)
    paths.logs.write_text("")
    finding = looked(paths)["logs"]
    assert (finding.level, finding.text) == ("broken", f"{paths.logs} is not a folder")
    assert finding.advice is not None


@unix
def test_a_folder_that_may_not_be_written_to_is_broken() -> None:
    # Not below pytest's own folder, which nobody else may enter.
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        paths = Paths(config=root / "config.toml", data=root / "data", logs=root / "new" / "logs")
        paths.data.mkdir()
        for folder in (paths.data, root):
            folder.chmod(0o555)
        with as_nobody():
            found = looked(paths)
        assert (found["data"].level, found["logs"].level) == ("broken", "broken")
        assert found["data"].text == f"{paths.data} cannot be written to: Permission denied"
        assert found["data"].advice == f"chmod u+rwx {paths.data}, or set LMLAB_HOME to a folder you may write to"
        assert found["logs"].text == f"{paths.logs} is not there yet and cannot be made in {root}"
    finally:
        for folder in (root, root / "data"):
            folder.chmod(0o755)
        shutil.rmtree(root)


@unix
def test_folders_and_files_that_others_may_read_are_a_warning(paths: Paths) -> None:
    private_folder(paths.logs)
    paths.data.chmod(0o755)
    write_private(paths.history, "what was typed")
    paths.history.chmod(0o644)
    found = looked(paths)
    assert (found["data"].level, found["history"].level, found["logs"].level) == ("warning", "warning", "ok")
    assert "others on this machine may use it (mode 0755, not 0700)" in found["data"].text
    assert found["data"].advice == f"chmod 700 {paths.data}"
    assert found["history"].advice == f"chmod 600 {paths.history}"


@unix
def test_a_command_can_be_typed_as_it_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine $HOME"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    advice = looked(Paths(config=folder / "c", data=folder, logs=folder))["data"].advice
    assert advice is not None
    assert shlex.split(advice) == ["chmod", "700", str(folder)]


@unix
def test_models_are_no_secret(paths: Paths) -> None:
    private_folder(paths.models).chmod(0o755)
    assert looked(paths)["models"].level == "ok"


@unix
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator can give files away"
)
def test_another_users_folder_is_a_warning(paths: Paths) -> None:
    private_folder(paths.data)
    os.chown(paths.data, 65534, -1)
    finding = looked(paths)["data"]
    assert (finding.level, finding.text) == ("warning", f"{paths.data}: it belongs to another user (id 65534)")


@pytest.mark.parametrize(
    ("free", "level"), [(10_000_000_000, "ok"), (1_500_000_000, "warning"), (20_000_000, "broken")]
)
def test_a_disk_that_is_full_is_said(paths: Paths, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**12, 10**12 - free, free))
    finding = looked(paths)["disk"]
    assert (finding.level, finding.values["free"]) == (level, free)
    assert (finding.advice is None) == (level == "ok")
