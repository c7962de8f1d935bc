from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, REPO, Hub

from lmlab.errors import DownloadError, ModelError, ModelNotFound
from lmlab.models import Progress, resolve
from lmlab.models.hub import reach
from lmlab.models.hub_files import HubReference, choose
from lmlab.settings import Config, Paths

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


def test_a_gate_says_which_token_opens_it(
    hub: Hub, files: dict[str, bytes], pull: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(hub)
    accept = f"{REPO} is gated: accept its terms at {hub.url}/{REPO}"

    with pytest.raises(DownloadError) as unknown:
        pull(f"hf:{REPO}:Q8_0")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(DownloadError) as known:
        pull(f"hf:{REPO}:Q8_0")

    assert str(unknown.value).startswith(f"{accept}, make a token of that account with the right to read ({hub.url}/")
    assert "set HF_TOKEN or run `hf auth login`" in str(unknown.value)
    assert str(known.value).startswith(f"{accept} with the account of the token that was sent")
    assert "hf_secret" not in str(known.value)


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


def test_a_login_that_cannot_be_read_is_not_the_hubs_fault(
    pull: Pull, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "file" / "token"))

    with pytest.raises(DownloadError, match=r"cannot read .*token: Not a directory; check HF_HOME"):
        pull(f"hf:{REPO}:Q8_0")


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


def test_a_hub_that_answers_is_reached_with_one_question(hub: Hub, files: dict[str, bytes]) -> None:
    assert reach(REPO, environ=dict(os.environ)) == hub.url
    assert [method for method, _, _ in hub.requests] == ["GET"]
    with pytest.raises(DownloadError, match="has no repository owner/nothing"):
        reach("owner/nothing", environ=dict(os.environ))
