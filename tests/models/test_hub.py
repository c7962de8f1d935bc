from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub

from lmlab.errors import DownloadError, ModelError, ModelNotFound
from lmlab.models import Progress, resolve
from lmlab.models.hub_files import HubReference, choose
from lmlab.settings import Config, Paths

REPO = "owner/Tiny-GGUF"
MakeGguf = Callable[..., bytes]


@pytest.fixture
def files(hub: Hub, make_gguf: MakeGguf) -> dict[str, bytes]:
    """The repository on the hub: three quantizations, one of them in a folder and in parts, and what is no model."""
    hub.repos[REPO] = {
        "README.md": b"a model",
        "Tiny.Q4_K_M.gguf": make_gguf(1, rows=8000),
        "Tiny.Q8_0.gguf": make_gguf(2),
        "mmproj-Tiny-Q8_0.gguf": make_gguf(3),
        "BF16/Tiny-BF16-00001-of-00002.gguf": make_gguf(4),
        "BF16/Tiny-BF16-00002-of-00002.gguf": make_gguf(5),
    }
    return hub.repos[REPO]


@pytest.fixture
def pull(paths: Paths) -> Callable[..., Path]:
    """Resolve a reference and return the file."""

    def pull(ref: str, **options: object) -> Path:
        return resolve(ref, paths=paths, config=Config(), environ=dict(os.environ), **options).path  # type: ignore[arg-type]

    return pull


Pull = Callable[..., Path]


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        (f"hf:{REPO}", "Tiny.Q4_K_M.gguf"),
        (f"hf:{REPO}:q8_0", "Tiny.Q8_0.gguf"),
        (f"{REPO}:Q8_0", "Tiny.Q8_0.gguf"),
        (f"hf:{REPO}:Tiny.Q8_0.gguf", "Tiny.Q8_0.gguf"),
        (f"hf:{REPO}:mmproj-Tiny-Q8_0.gguf", "mmproj-Tiny-Q8_0.gguf"),
        (f"hf:{REPO}:BF16/Tiny-BF16-00001-of-00002.gguf", "BF16/Tiny-BF16-00001-of-00002.gguf"),
        (f"hf:{REPO}:Tiny-BF16-00002-of-00002.gguf", "BF16/Tiny-BF16-00001-of-00002.gguf"),
    ],
)
def test_a_reference_brings_its_file(files: dict[str, bytes], pull: Pull, ref: str, name: str) -> None:
    path = pull(ref)

    assert path.as_posix().endswith(f"snapshots/{COMMIT}/{name}")
    assert path.read_bytes() == files[name]


def test_every_part_of_a_split_model_is_fetched(files: dict[str, bytes], pull: Pull) -> None:
    path = pull(f"hf:{REPO}:bf16")

    second = path.with_name("Tiny-BF16-00002-of-00002.gguf")
    assert second.read_bytes() == files["BF16/Tiny-BF16-00002-of-00002.gguf"]


def test_the_library_finds_what_lmlab_put_into_its_cache(files: dict[str, bytes], pull: Pull) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    from lmlab.models.hub_files import cache_folder

    path = pull(f"hf:{REPO}:Q8_0")

    folder = cache_folder(os.environ)
    assert try_to_load_from_cache(REPO, "Tiny.Q8_0.gguf", cache_dir=folder) == str(path)
    scanned = scan_cache_dir(folder)
    assert [repo.repo_id for repo in scanned.repos] == [REPO]
    assert not scanned.warnings


def test_what_is_cached_needs_no_request(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    path = pull(f"hf:{REPO}:Q8_0")
    hub.requests.clear()

    assert pull(f"hf:{REPO}:q8_0") == path
    assert pull(f"hf:{REPO}:Tiny.Q8_0.gguf") == path
    assert pull(f"hf:{REPO}:Q8_0", offline=True) == path
    assert hub.requests == []


def test_without_a_quantization_the_only_cached_one_will_do(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    path = pull(f"hf:{REPO}:Q8_0")
    hub.requests.clear()

    assert pull(f"hf:{REPO}") == path
    assert hub.requests == []


def test_the_notice_says_from_where_once(files: dict[str, bytes], paths: Paths) -> None:
    first, second = (resolve(f"{REPO}:Q8_0", paths=paths, config=Config(), environ=dict(os.environ)) for _ in range(2))

    assert first.ref == f"hf:{REPO}:Q8_0"
    assert first.notice == f"fetched Tiny.Q8_0.gguf from Hugging Face ({REPO})"
    assert second.notice is None


def test_progress_grows_to_the_total_over_all_parts(files: dict[str, bytes], pull: Pull) -> None:
    seen: list[Progress] = []

    pull(f"hf:{REPO}:BF16", progress=seen.append)

    total = sum(len(data) for name, data in files.items() if name.startswith("BF16/"))
    assert {progress.total for progress in seen} == {total}
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert seen[-1].done == total


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


def test_a_file_too_large_for_http_says_how_else(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    hub.claimed_size = 60_000_000_000

    with pytest.raises(DownloadError, match=rf"has 60.0 GB, .*: run `hf download {REPO} Tiny.Q8_0.gguf`"):
        pull(f"hf:{REPO}:Q8_0")


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: Hub, files: dict[str, bytes], pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.cdn = hub.url.replace("127.0.0.1", "localhost")

    path = pull(f"hf:{REPO}:Q8_0")

    assert path.read_bytes() == files["Tiny.Q8_0.gguf"]
    sent = {part: {h.get("authorization") for _, p, h in hub.requests if part in p} for part in ("/resolve/", "/cdn/")}
    assert sent == {"/resolve/": {"Bearer hf_secret"}, "/cdn/": {None}}


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        ("Q5_K_M", r"has no Q5_K_M; it holds BF16/Tiny-BF16-00001-of-00002.gguf, Tiny.Q4_K_M.gguf, Tiny.Q8_0.gguf"),
        ("other.gguf", r"has no other.gguf; it holds .*Tiny.Q8_0.gguf"),
    ],
)
def test_what_is_absent_is_answered_with_what_is_there(
    files: dict[str, bytes], pull: Pull, selector: str, says: str
) -> None:
    with pytest.raises(ModelNotFound, match=says):
        pull(f"hf:{REPO}:{selector}")


def gate(hub: Hub) -> None:
    hub.gated.add(REPO)


def refuse_token(hub: Hub) -> None:
    hub.denied[REPO] = 401


def forbid(hub: Hub) -> None:
    hub.denied[REPO] = 403


def remove(hub: Hub) -> None:
    del hub.repos[REPO]


def captive_portal(hub: Hub) -> None:
    hub.plain = True


def limit(hub: Hub) -> None:
    hub.faults = [429] * 50


@pytest.mark.parametrize("ref", [f"hf:{REPO}:Q8_0", f"hf:{REPO}:Tiny.Q8_0.gguf"])
@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (gate, "is gated: accept its terms at http"),
        (refuse_token, "does not accept the token"),
        (forbid, "does not let this token read"),
        (remove, "has no repository owner/Tiny-GGUF"),
        (captive_portal, "does not answer as a Hugging Face hub does"),
        (limit, "too many requests"),
    ],
)
def test_refusals_are_one_line_that_says_what_to_do(
    hub: Hub,
    files: dict[str, bytes],
    pull: Pull,
    capfd: pytest.CaptureFixture[str],
    trouble: Callable[[Hub], None],
    says: str,
    ref: str,
) -> None:
    trouble(hub)

    with pytest.raises(DownloadError) as error:
        pull(ref)

    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_no_server_is_a_download_error(pull: Pull, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(DownloadError, match="cannot be reached"):
            pull(f"hf:{REPO}")


def test_a_silent_server_is_given_up(pull: Pull, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmlab.models.hub.TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DownloadError, match="did not answer within"):
            pull(f"hf:{REPO}")


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://example.org", "http://["])
def test_a_bad_endpoint_is_named(pull: Pull, hub: Hub, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)

    with pytest.raises(DownloadError, match="HF_ENDPOINT"):
        pull(f"hf:{REPO}")


def test_offline_says_what_the_cache_holds(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    pull(f"hf:{REPO}:Q8_0")
    hub.requests.clear()

    with pytest.raises(DownloadError, match=r"offline, and .*:Q4_K_M is not in the cache .*Tiny.Q8_0.gguf"):
        pull(f"hf:{REPO}:Q4_K_M", offline=True)
    assert hub.requests == []


def test_the_librarys_own_switch_is_obeyed(
    hub: Hub, files: dict[str, bytes], pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(DownloadError, match="switched off"):
        pull(f"hf:{REPO}:Q8_0")
    assert hub.requests == []


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


def test_two_fetches_at_once_both_get_the_file(hub: Hub, files: dict[str, bytes], pull: Pull) -> None:
    barrier = threading.Barrier(2)

    def fetch() -> Path:
        barrier.wait()
        return pull(f"hf:{REPO}")

    with ThreadPoolExecutor(2) as pool:
        got = [future.result() for future in [pool.submit(fetch) for _ in range(2)]]

    assert {path.read_bytes() for path in got} == {files["Tiny.Q4_K_M.gguf"]}
    assert len([path for path in hub.paths("GET") if "resolve" in path]) == 1


@pytest.mark.parametrize("name", ["../../evil.gguf", "a/../../evil.gguf", "c:/evil.gguf"])
def test_a_name_that_leaves_the_cache_is_refused(hub: Hub, pull: Pull, home: Path, name: str) -> None:
    hub.repos[REPO] = {name: b"GGUF"}

    with pytest.raises(DownloadError, match="does not write"):
        pull(f"hf:{REPO}")
    assert not list(home.parent.rglob("evil.gguf"))


NAMES = [
    "m-Q4_K_M.gguf",
    "m-Q4_K.gguf",
    "m-IQ4_XS.gguf",
    "m-Q4_XS.gguf",
    "m-UD-Q4_K_XL.gguf",
    "m.bf16.gguf",
    "m.f16.gguf",
]


@pytest.mark.parametrize(
    ("selector", "name"),
    [("q4_k", "m-Q4_K.gguf"), ("Q4_XS", "m-Q4_XS.gguf"), ("f16", "m.f16.gguf"), ("Q4_K_XL", "m-UD-Q4_K_XL.gguf")],
)
def test_a_quantization_is_a_whole_word(selector: str, name: str) -> None:
    assert choose(NAMES, HubReference("o/r", selector)) == name


def ambiguous() -> Iterator[tuple[list[str], str | None]]:
    yield ["a-Q8_0.gguf", "b-Q8_0.gguf"], "Q8_0"
    yield ["a-Q8_0.gguf", "b-Q6_K.gguf"], None
    yield ["README.md"], None


@pytest.mark.parametrize(("names", "selector"), ambiguous())
def test_no_single_answer_is_an_error_that_lists(names: list[str], selector: str | None) -> None:
    with pytest.raises(ModelError) as error:
        choose(names, HubReference("o/r", selector))

    assert all(name in str(error.value) for name in names if name.endswith(".gguf"))


def test_the_only_model_needs_no_quantization() -> None:
    assert choose(["README.md", "mmproj-m.gguf", "m-IQ2_S.gguf"], HubReference("o/r")) == "m-IQ2_S.gguf"
