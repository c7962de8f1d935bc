"""Files that are not what they should be: each is a miss with one line at most, none is ever taken for a state.

llama.cpp restores a state whose bits have flipped, or that ends early in the wrong place, and says nothing.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from pathlib import Path

import pytest
from snapshot_drive import KEY, OTHER_KEY, Disk, numbers, state_of

TOKENS = numbers(100)
FIXED = 8 + 32 + 4 + 8
HEAD = FIXED + 4 * len(TOKENS) + 32


@pytest.fixture
def intact(tmp_path: Path) -> Path:
    """The file of a snapshot of TOKENS."""
    disk = Disk(tmp_path / "snapshots")
    disk.keep(TOKENS)
    (path,) = disk.files()
    return path


def miss(path: Path) -> str | None:
    """Look for the snapshot at ``path`` twice, as a process does that has just started; return the line it said."""
    disk = Disk(path.parent.parent)
    for _ in range(2):
        found = disk.store.find(TOKENS, KEY)
        assert found is None or found.read() is None
    assert len(disk.said) <= 1
    return disk.said[0] if disk.said else None


def test_the_intact_file_is_a_hit(intact: Path) -> None:
    assert Disk(intact.parent.parent).length(TOKENS) == len(TOKENS)


def test_a_cut_anywhere_is_a_miss_and_the_rest_is_removed(intact: Path) -> None:
    whole = intact.read_bytes()
    lengths = {*range(FIXED + 8), *range(FIXED, len(whole), 11), *range(HEAD - 40, HEAD + 8), *range(-40, 0)}
    for length in lengths:
        intact.parent.mkdir(exist_ok=True)
        intact.write_bytes(whole[:length])
        line = miss(intact)
        assert line is not None, length
        assert "is damaged and was removed" in line
        assert not intact.exists()
    assert len(lengths) > 300


def test_a_flipped_bit_anywhere_is_a_miss(intact: Path) -> None:
    whole = intact.read_bytes()
    places = {*range(FIXED + 16), *range(FIXED, len(whole), 7), *range(HEAD - 40, HEAD + 16), *range(-32, 0)}
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        intact.parent.mkdir(exist_ok=True)
        intact.write_bytes(changed)
        line = miss(intact)
        assert line is not None, place
        # Without our mark at its start it may be someone else's.
        assert intact.exists() == (0 <= place < 8)
    assert len(places) > 400


def test_a_block_of_zeros_anywhere_is_a_miss(intact: Path) -> None:
    """What a file system leaves of a file that was not yet on the disk when the power went."""
    whole = intact.read_bytes()
    for place in range(8, len(whole), 64):
        intact.parent.mkdir(exist_ok=True)
        intact.write_bytes(whole[:place] + bytes(min(64, len(whole) - place)) + whole[place + 64 :])
        assert miss(intact) is not None, place


def sealed(key: str, count: int, state_size: int, tokens: bytes, state: bytes) -> bytes:
    """Return a file whose checksums are right, whatever it says of itself."""
    head = struct.pack("<8s32sIQ", b"lmlabkv\1", bytes.fromhex(key), count, state_size) + tokens
    head += hashlib.sha256(head).digest()
    return head + state + hashlib.sha256(head + state).digest()


IDS = struct.pack(f"<{len(TOKENS)}i", *TOKENS)


def test_the_format_is_as_described(intact: Path) -> None:
    assert intact.read_bytes() == sealed(KEY, 100, 2000, IDS, state_of(TOKENS))


@pytest.mark.parametrize(
    ("count", "state_size"),
    [
        (2**32 - 1, 2000),
        (2**31, 2000),
        (100, 2**64 - 1),
        (100, 2**63),
        (100, 2001),
        (100, 1999),
        (101, 2000),
        (99, 2000),
        (0, 2000),
        (100, 0),
        # The same length in all: tokens taken for state, state for tokens.
        (101, 1996),
        (99, 2004),
        (600, 0),
    ],
)
def test_counts_that_are_not_those_of_the_file_are_a_miss(intact: Path, count: int, state_size: int) -> None:
    intact.write_bytes(sealed(KEY, count, state_size, IDS, state_of(TOKENS)))
    line = miss(intact)
    assert line is not None
    assert "is damaged and was removed" in line


@pytest.mark.parametrize("more", [b"\0", b"x" * 32, b"lmlabkv\1" * 100])
def test_what_follows_a_snapshot_is_damage(intact: Path, more: bytes) -> None:
    intact.write_bytes(intact.read_bytes() + more)
    assert "is damaged and was removed" in (miss(intact) or "")


def test_a_stale_key_under_a_name_that_fits_is_a_miss_and_no_damage(intact: Path) -> None:
    almost = KEY[:63] + ("0" if KEY[63] != "0" else "1")
    for key in (OTHER_KEY, almost):
        intact.write_bytes(sealed(key, 100, 2000, IDS, state_of(TOKENS)))
        assert miss(intact) is None
        assert intact.exists()


def test_a_file_that_changes_after_it_was_found_is_a_miss(intact: Path) -> None:
    whole = intact.read_bytes()
    for content in (
        sealed(OTHER_KEY, 100, 2000, IDS, state_of(TOKENS)),
        b"GGUF" * 1000,
        b"",
        whole[:-1],
        whole[:HEAD] + b"y" + whole[HEAD + 1 :],
    ):
        intact.parent.mkdir(exist_ok=True)
        intact.write_bytes(whole)
        disk = Disk(intact.parent.parent)
        found = disk.store.find(TOKENS, KEY)
        assert found is not None
        intact.write_bytes(content)
        assert [found.read(), found.read()] == [None, None]
        assert len(disk.said) == 1
        assert disk.store.find(TOKENS, KEY) is None


@pytest.mark.parametrize(
    "content", [b"GGUF\3\0\0\0" * 500, b"ggsq" * 900, b"{}", b"lmlabkv\2" + b"x" * 3000, b"LMLABKV\1" * 300]
)
def test_a_foreign_file_under_a_name_of_ours_is_left_alone(intact: Path, content: bytes) -> None:
    intact.write_bytes(content)
    assert "is ignored: it is not a snapshot of this version" in (miss(intact) or "")
    assert intact.read_bytes() == content


@pytest.mark.parametrize("name", ["state.kv", ".kv", "README.txt", "0123456789abcdef.kv", "x" * 200 + ".kv"])
def test_a_file_of_another_name_is_not_even_opened(intact: Path, name: str) -> None:
    foreign = intact.rename(intact.with_name(name))
    assert miss(foreign) is None
    assert foreign.exists()


def test_what_is_no_file_is_passed_over(intact: Path) -> None:
    whole = intact.rename(intact.with_name("kept"))
    intact.mkdir()
    assert miss(intact) is None
    intact.rmdir()
    if sys.platform != "win32":
        intact.symlink_to(whole)
        assert miss(intact) is None
        intact.unlink()
        # Opening one would wait for a writer.
        os.mkfifo(intact)
        assert miss(intact) is None


def test_the_state_of_other_tokens_is_a_miss(intact: Path) -> None:
    other = Disk(intact.parent.parent)
    other.keep(numbers(100, seed=1), session="other2")
    (theirs,) = (path for path in other.files() if path != intact)
    ours = intact.read_bytes()
    intact.write_bytes(ours[:HEAD] + theirs.read_bytes()[HEAD:])
    assert "its checksum is wrong" in (miss(intact) or "")
    intact.parent.mkdir()
    intact.write_bytes(theirs.read_bytes()[:HEAD] + ours[HEAD:])
    theirs.unlink()
    disk = other.again()
    found = disk.store.find(numbers(100, seed=1), KEY)
    assert found is not None
    assert found.read() is None


def test_a_damaged_file_does_not_hide_one_that_is_intact(intact: Path) -> None:
    disk = Disk(intact.parent.parent)
    disk.keep(TOKENS[:80], session="other2")
    intact.write_bytes(intact.read_bytes()[:-1])
    disk = disk.again()
    assert disk.length(TOKENS) == 80
    assert len(disk.said) == 1


def test_a_damaged_file_that_cannot_be_removed_is_said_once(intact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows while another process has it open."""
    intact.write_bytes(intact.read_bytes()[:-1])

    def in_use(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(Path, "unlink", in_use)
    disk = Disk(intact.parent.parent)
    assert [disk.length(TOKENS), disk.length(TOKENS)] == [0, 0]
    disk.keep(TOKENS)
    assert disk.length(TOKENS) == 100
    assert len(disk.said) == 1
    assert "is damaged and was ignored" in disk.said[0]
