"""The disk space of snapshots, as the parent sees it: names and sizes, never contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmlab import snapshot_layout
from lmlab.snapshot_layout import folder_name
from lmlab.store import snapshot_files

KEY = "0123456789abcdef" * 4


def put(folder: Path, session: str | None, size: int, *, name: str | None = None) -> Path:
    path = folder / folder_name(session) / (name or snapshot_layout.new_name(KEY))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_sizes_are_by_session(tmp_path: Path) -> None:
    for session, size in (("abc234", 10), ("abc234", 5), ("def567", 7), (None, 100), ("Größe/..", 3)):
        put(tmp_path, session, size)
    assert snapshot_files.sizes(tmp_path) == {"abc234": 15, "def567": 7, "Größe/..": 3}


def test_removing_takes_one_session_and_its_folder(tmp_path: Path) -> None:
    for session in ("abc234", "abc234", "def567", None):
        put(tmp_path, session, 10)
    half_written = put(tmp_path, "abc234", 4, name=snapshot_layout.new_name(KEY) + snapshot_layout.TEMPORARY)
    assert snapshot_files.remove(tmp_path, "abc234") == 24
    assert not half_written.parent.exists()
    assert snapshot_files.sizes(tmp_path) == {"def567": 10}
    assert snapshot_files.remove(tmp_path, "abc234") == 0
    assert len(list((tmp_path / folder_name(None)).iterdir())) == 1


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    put(tmp_path, "abc234", 10)
    mine = put(tmp_path, "abc234", 99, name="notes.kv")
    folder = tmp_path / "abc234" / snapshot_layout.new_name(KEY)
    folder.mkdir()
    (tmp_path / "My Chats").mkdir()
    (tmp_path / "My Chats" / snapshot_layout.new_name(KEY)).write_bytes(b"x")
    (tmp_path / "abc235").write_bytes(b"x")
    assert snapshot_files.sizes(tmp_path) == {"abc234": 10}
    assert snapshot_files.remove(tmp_path, "abc234") == 10
    assert mine.exists()
    assert folder.exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_no_folder_is_no_snapshots(tmp_path: Path, make: object) -> None:
    folder = tmp_path / "snapshots"
    make(folder)  # type: ignore[operator]
    assert snapshot_files.sizes(folder) == {}
    assert snapshot_files.remove(folder, "abc234") == 0


def test_a_file_in_use_is_not_said_to_be_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows while a worker reads it."""
    kept = put(tmp_path, "abc234", 10)
    put(tmp_path, "abc234", 5)
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self == kept:
            raise PermissionError("in use")
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert snapshot_files.remove(tmp_path, "abc234") == 5
    assert snapshot_files.sizes(tmp_path) == {"abc234": 10}
