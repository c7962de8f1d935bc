from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from harness import Lmlab, Outcome, Program, Terminal
from model_stores import Stores
from tiny_models import write_llama

from lmlab.models import resolution
from lmlab.settings import Paths, load_config


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf").read_bytes()


@pytest.fixture
def mine(tiny: bytes) -> Path:
    """A file in lmlab's own folder."""
    path = Paths.find().models / "mine.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny)
    return path


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal, at whose keyboard ``typed`` is typed."""

    def call(*arguments: str, typed: str = "") -> Outcome:
        with Terminal() as out, Terminal() as err, Terminal(typed.encode()) as keyboard:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments, stdin=keyboard).code, out.shown, err.shown)

    return call


# pull


def test_what_is_here_is_not_fetched_again(lmlab: Lmlab, mine: Path) -> None:
    outcome = lmlab("models", "pull", "mine")
    assert (outcome.code, outcome.out) == (0, f"{mine}\n")
    assert outcome.err == "lmlab: mine is here already: nothing was fetched\n"
    assert lmlab("models", "pull", "mine", "--quiet").err == ""
    said = json.loads(lmlab("models", "pull", "mine", "--json").out)
    assert (said["path"], said["fits"], said["notice"]) == (str(mine), "yes", None)


def test_what_cannot_be_had_is_one_line(lmlab: Lmlab) -> None:
    for ref, says in (
        ("hf:a/b:Q4_K_M", "Hugging Face is switched off (HF_HUB_OFFLINE)"),
        ("qwen3-0.6b", "Hugging Face is switched off (HF_HUB_OFFLINE)"),
        ("ollama:tiny", "fetch it with `ollama pull tiny`"),
        ("/no/such.gguf", "no such file"),
    ):
        outcome = lmlab("models", "pull", ref)
        assert (outcome.code, outcome.out) == (1, "")
        assert says in outcome.err
        assert outcome.err.count("\n") == 1


def test_what_does_not_fit_is_fetched_and_said(lmlab: Lmlab, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmlab.models.memory_need.available_memory", lambda: 10**6)
    outcome = lmlab("models", "pull", "mine")
    assert outcome.code == 0
    assert "it does not fit into memory" in outcome.err


@pytest.fixture
def slow_hub() -> Iterator[tuple[str, threading.Event]]:
    """A hub that stops in the midst of a file; the event is set when it has."""
    half = threading.Event()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._begin()

        def do_GET(self) -> None:
            self._begin()
            self.wfile.write(bytes(1_000_000))
            self.wfile.flush()
            half.set()
            ended.wait(60)

        def _begin(self) -> None:
            self.send_response(200)
            for name, value in {
                "Content-Length": "2000000",
                "X-Repo-Commit": "a" * 40,
                "X-Linked-Etag": f'"{"b" * 64}"',
                "X-Linked-Size": "2000000",
            }.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", half
    ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.skipif(sys.platform == "win32", reason="a child cannot be sent Ctrl-C alone")
def test_ctrl_c_in_a_download_keeps_what_arrived(
    start: Program, stores: Stores, slow_hub: tuple[str, threading.Event]
) -> None:
    url, half = slow_hub
    environment = {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"}
    program = start("models", "pull", "hf:owner/Tiny-GGUF:m.gguf", env=environment)
    assert half.wait(60)
    program.send_signal(signal.SIGINT)
    # The first is taken up with the next bytes, which never come; the second ends the program at once.
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, b"")
    assert [path.name for path in stores.cache.rglob("*.incomplete")] == ["b" * 64 + ".lmlab.incomplete"]


def test_a_stopped_download_says_how_to_go_on(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, cancelled: Callable[[], bool], **__: object) -> None:
        from lmlab.errors import DownloadError

        signal.raise_signal(signal.SIGINT)
        assert cancelled()
        raise DownloadError("the download was cancelled")

    monkeypatch.setattr("lmlab.cli.models_changes.resolve", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = lmlab("models", "pull", "hf:a/b:Q4_K_M")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err == "lmlab: stopped; the same command goes on from here\n"


# remove


def test_remove_asks_and_says_what_is_freed(on_terminal: Lmlab, mine: Path) -> None:
    outcome = on_terminal("models", "remove", "mine", typed="n\n")
    assert (outcome.code, outcome.out) == (1, "")
    assert f"mine: {mine} (158 kB; nothing fetches it again)" in outcome.err
    assert outcome.err.endswith("lmlab: nothing was removed\n")
    assert mine.exists()
    outcome = on_terminal("models", "remove", "mine", typed="y\n")
    assert outcome.code == 0
    assert "removed mine, which frees 158 kB" in outcome.err
    assert not mine.exists()


def test_without_a_terminal_nobody_can_be_asked(lmlab: Lmlab, mine: Path) -> None:
    outcome = lmlab("models", "remove", "mine")
    assert outcome.code == 2
    assert "--yes" in outcome.err
    assert mine.exists()
    assert lmlab("models", "remove", "mine", "--yes").code == 0
    assert not mine.exists()


def test_what_others_keep_goes_only_when_told_so(lmlab: Lmlab, stores: Stores, mine: Path, tiny: bytes) -> None:
    cached = stores.add_cached("owner/Tiny-GGUF", "m-Q8_0.gguf", tiny)
    outcome = lmlab("models", "remove", "mine", "hf:owner/Tiny-GGUF:Q8_0", "--yes")
    assert outcome.code == 2
    assert "the Hugging Face cache, which other programs use, too" in outcome.err
    # Nothing goes unless all may.
    assert mine.exists()
    outcome = lmlab("models", "remove", "hf:owner/Tiny-GGUF:Q8_0", "--yes", "--others")
    assert outcome.code == 0
    assert "to get it back: lmlab models pull hf:owner/Tiny-GGUF:m-Q8_0.gguf" in outcome.err
    assert not os.path.lexists(cached)


def test_what_is_damaged_says_how_to_be_rid_of_it(lmlab: Lmlab, stores: Stores, tiny: bytes) -> None:
    cut = stores.add_cached("owner/Tiny-GGUF", "m-Q8_0.gguf", tiny[:-9])
    outcome = lmlab("models", "pull", "hf:owner/Tiny-GGUF:Q8_0")
    assert (outcome.code, outcome.out) == (1, "")
    assert "fetch it again (lmlab models remove hf:owner/Tiny-GGUF:Q8_0 takes away this one)" in outcome.err
    assert lmlab("models", "remove", "hf:owner/Tiny-GGUF:Q8_0", "--yes", "--others").code == 0
    assert not os.path.lexists(cut)


def test_ollamas_models_are_left_to_ollama(lmlab: Lmlab, stores: Stores, tiny: bytes) -> None:
    blob = stores.add_ollama("registry.ollama.ai/library/tiny/latest", tiny)
    outcome = lmlab("models", "remove", "ollama:tiny", "--yes", "--others")
    assert outcome.code == 2
    assert "`ollama rm tiny`" in outcome.err
    assert blob.exists()


# alias


def test_an_alias_is_written_used_and_removed(lmlab: Lmlab, mine: Path, home: Path) -> None:
    (home / "config.toml").write_text("# my settings\n")
    outcome = lmlab("models", "alias", "fast", "mine")
    assert (outcome.code, outcome.out) == (0, "")
    assert (home / "config.toml").read_text() == f'# my settings\n\n[aliases]\nfast = "{mine}"\n'
    assert json.loads(lmlab("models", "show", "fast", "--json").out)["path"] == str(mine)
    assert lmlab("models", "alias").out == f"fast\t{mine}\n"
    assert lmlab("models", "alias", "--remove", "fast").code == 0
    assert load_config(home / "config.toml").aliases == {}
    assert (home / "config.toml").read_text().startswith("# my settings\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fast",), "give a REF"),
        (("--remove",), "needs the NAME"),
        (("--remove", "fast"), "there is no alias 'fast'"),
        (("--remove", "fast", "mine"), "takes a NAME and no REF"),
        (("a:b", "mine"), "is no name for an alias"),
        (("fast", "fast"), "leads back to itself"),
        (("fast", "hf:nonsense"), "write it as hf:owner/repo"),
    ],
)
def test_an_alias_that_cannot_be_is_refused(lmlab: Lmlab, home: Path, arguments: tuple[str, ...], says: str) -> None:
    outcome = lmlab("models", "alias", *arguments)
    assert outcome.code == 2
    assert says in outcome.err
    assert not (home / "config.toml").exists()


def test_an_alias_of_nothing_is_refused(lmlab: Lmlab) -> None:
    outcome = lmlab("models", "alias", "fast", "smolm2")
    assert outcome.code == 1
    assert "did you mean smollm2?" in outcome.err


def test_an_alias_of_an_alias_stays_one(lmlab: Lmlab, home: Path) -> None:
    lmlab("models", "alias", "small", "smollm2")
    lmlab("models", "alias", "fast", "small")
    assert load_config(home / "config.toml").aliases == {"small": "smollm2", "fast": "small"}


# completion


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("models show ", {"mine", "ollama:tiny:latest", "hf:owner/Tiny-GGUF:Q8_0"}),
        ("models show m", {"mine"}),
        ("models remove o", {"ollama:tiny:latest"}),
        ("models pull qwen3", {"qwen3-0.6b", "qwen3.5-0.8b"}),
        ("models alias f", {"fast"}),
        ("models alias x hf", {"hf:owner/Tiny-GGUF:Q8_0"}),
        ("run -m o", {"ollama:tiny:latest"}),
        ("chat hf", {"hf:owner/Tiny-GGUF:Q8_0"}),
        ("compare smollm2 o", {"ollama:tiny:latest"}),
        ("batch -m hf", {"hf:owner/Tiny-GGUF:Q8_0"}),
        ("run --draft o", {"ollama:tiny:latest"}),
    ],
)
def test_the_shell_completes_references(
    lmlab: Lmlab,
    stores: Stores,
    mine: Path,
    tiny: bytes,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    offered: set[str],
) -> None:
    stores.add_ollama("registry.ollama.ai/library/tiny/latest", tiny + b"\0")
    stores.add_cached("owner/Tiny-GGUF", "m-Q8_0.gguf", tiny + b"\0\0")
    (home / "config.toml").write_text('[aliases]\nfast = "smollm2"\n')
    words = f"lmlab {typed}"
    monkeypatch.setenv("_LMLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        lmlab()
    assert ended.value.code == 0
    assert set(capsys.readouterr().out.split()) == offered


def test_nothing_of_the_network_is_imported_by_looking(
    lmlab: Lmlab, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(resolution._Finder, "_fetch_from_hub", refuse)
    monkeypatch.setattr(resolution._Finder, "_fetch_from_wheel", refuse)
    for arguments in (("list",), ("show", "mine"), ("show", "smollm2"), ("remove", "smollm2", "--yes")):
        assert lmlab("models", *arguments).code in (0, 1)
