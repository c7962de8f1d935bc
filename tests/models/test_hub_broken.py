"""Fetching from the hub when something breaks in the midst of it, and when two do it at once."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import REPO, Hub

from lmlab.errors import DownloadError
from lmlab.models import Progress

Pull = Callable[..., Path]


def test_a_broken_connection_is_continued(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    hub.break_at = [600_000, 300_000]

    path = pull(f"hf:{REPO}")

    assert path.read_bytes() == files["Tiny.Q4_K_M.gguf"]
    ranges = [headers.get("range") for verb, _, headers in hub.requests if verb == "GET" and "resolve" in _]
    assert ranges[0] is None
    assert len(ranges) == 3
    assert all(wish and int(wish[6:-1]) > 0 for wish in ranges[1:])


def test_a_later_run_continues_what_an_earlier_one_left(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    hub.break_at = [600_000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match="cannot be reached"):
        pull(f"hf:{REPO}")
    hub.break_at = []
    hub.requests.clear()
    seen: list[Progress] = []

    path = pull(f"hf:{REPO}", progress=seen.append)

    assert path.read_bytes() == files["Tiny.Q4_K_M.gguf"]
    assert seen[0].done >= 500_000
    assert [headers.get("range") for verb, _, headers in hub.requests][-1] == f"bytes={seen[0].done}-"


def test_a_server_without_ranges_sends_all_anew(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    hub.break_at, hub.ignore_range = [600_000], True

    assert pull(f"hf:{REPO}").read_bytes() == files["Tiny.Q4_K_M.gguf"]


def test_passing_faults_are_tried_again_and_lasting_ones_are_not_for_long(
    hub: Hub, files: dict[str, bytes], pull: Pull
) -> None:
    hub.faults = [0, 503, 500]
    assert pull(f"hf:{REPO}:Tiny.Q8_0.gguf").read_bytes() == files["Tiny.Q8_0.gguf"]

    hub.faults = [0] + [503] * 50
    with pytest.raises(DownloadError, match="answered 503, a fault of its own"):
        pull(f"hf:{REPO}:Tiny.Q4_K_M.gguf")
    assert len(hub.faults) > 40


def test_wrong_bytes_are_thrown_away(hub: Hub, files: dict[str, bytes], pull: Pull, home: Path) -> None:
    hub.corrupt = True
    with pytest.raises(DownloadError, match=r"arrived wrong \(sha256"):
        pull(f"hf:{REPO}:Q8_0")
    assert not list(home.parent.rglob("*.incomplete"))

    hub.corrupt = False
    assert pull(f"hf:{REPO}:Q8_0").read_bytes() == files["Tiny.Q8_0.gguf"]


def test_cancelling_keeps_what_arrived(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    seen: list[Progress] = []

    with pytest.raises(DownloadError, match="cancelled"):
        pull(f"hf:{REPO}", progress=seen.append, cancelled=lambda: bool(seen) and seen[-1].done > 300_000)
    stopped_at = seen[-1].done
    seen.clear()
    pull(f"hf:{REPO}", progress=seen.append)

    assert 300_000 < stopped_at <= seen[0].done < len(files["Tiny.Q4_K_M.gguf"])


def test_a_full_disk_is_said_before_the_transfer(
    hub: Hub, files: dict[str, bytes], pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    with pytest.raises(DownloadError, match=r"it takes \d MB in .* and 1 kB is free"):
        pull(f"hf:{REPO}")
    assert not [path for path in hub.paths("GET") if "resolve" in path]


def test_a_disk_that_fills_during_the_transfer_is_said(
    hub: Hub, files: dict[str, bytes], pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(DownloadError, match=r"the disk is full: make room in .*, or set HF_HOME"):
        pull(f"hf:{REPO}")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_transfer_that_cannot_be_written_on_is_continued_later(
    hub: Hub, files: dict[str, bytes], pull: Pull, home: Path
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    try:
        with pytest.raises(DownloadError, match=r"cannot write in .*: File too large; set HF_HOME"):
            pull(f"hf:{REPO}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(home.parent.rglob("*.gguf"))
    seen: list[Progress] = []

    assert pull(f"hf:{REPO}", progress=seen.append).read_bytes() == files["Tiny.Q4_K_M.gguf"]
    assert seen[0].done == 600_000


def test_who_waits_for_anothers_fetch_sees_how_far_it_is(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    from huggingface_hub.utils import WeakFileLock

    from lmlab.models.hub_files import cache_folder, repo_folder

    data = files["Tiny.Q4_K_M.gguf"]
    digest = hashlib.sha256(data).hexdigest()
    blobs = repo_folder(REPO, os.environ) / "blobs"
    blobs.mkdir(parents=True)
    locks = cache_folder(os.environ) / ".locks" / repo_folder(REPO, os.environ).name
    locks.mkdir(parents=True)
    (blobs / f"{digest}.lmlab.incomplete").write_bytes(data[:300_000])
    waiting = threading.Event()
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        waiting.set()

    with ThreadPoolExecutor(1) as pool:
        with WeakFileLock(locks / f"{digest}.lock"):
            fetched = pool.submit(pull, f"hf:{REPO}", progress=watch)
            assert waiting.wait(60)
            assert seen[0] == Progress("Tiny.Q4_K_M.gguf", 300_000, len(data))
            (blobs / f"{digest}.lmlab.incomplete").unlink()
            (blobs / digest).write_bytes(data)
        assert fetched.result().read_bytes() == data
    assert not [path for path in hub.paths("GET") if "resolve" in path]


def test_two_fetches_at_once_both_get_the_file(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    barrier = threading.Barrier(2)

    def fetch() -> Path:
        barrier.wait()
        return pull(f"hf:{REPO}")

    with ThreadPoolExecutor(2) as pool:
        got = [future.result() for future in [pool.submit(fetch) for _ in range(2)]]

    assert {path.read_bytes() for path in got} == {files["Tiny.Q4_K_M.gguf"]}
    assert len([path for path in hub.paths("GET") if "resolve" in path]) == 1
