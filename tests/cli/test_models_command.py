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
from rich.cells import cell_len
from tiny_models import CHATML, write_llama, write_recurrent, write_sliding_window

from lmlab.models import resolution
from lmlab.settings import Paths, load_config

HEADER = "ref\tsource\tname\tarchitecture\tparameters\tquantization\tsize\tcontext\tchat_template\tfits\tpath\n"
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf", chat_template=CHATML).read_bytes()


@pytest.fixture
def mine(tiny: bytes) -> Path:
    """A file in lmlab's own folder."""
    path = Paths.find().models / "mine.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(tiny)
    return path


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal 80 columns wide, at whose keyboard ``typed`` is typed."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, typed: str = "") -> Outcome:
        with Terminal() as out, Terminal() as err, Terminal(typed.encode()) as keyboard:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments, stdin=keyboard).code, out.shown, err.shown)

    return call


# list


@pytest.mark.parametrize(("options", "out"), [((), HEADER), (("--json",), "[]\n")])
def test_no_models_are_said_beside_the_data(lmlab: Lmlab, options: tuple[str, ...], out: str) -> None:
    outcome = lmlab("models", "list", *options)
    assert (outcome.code, outcome.out) == (0, out)
    assert outcome.err == "lmlab: there are no models yet: lmlab models pull smollm2 fetches one\n"


def test_a_pipe_gets_a_header_and_a_line_each(lmlab: Lmlab, stores: Stores, mine: Path, tiny: bytes) -> None:
    blob = stores.add_ollama("registry.ollama.ai/library/tiny/latest", tiny + b"\0")
    outcome = lmlab("models", "list")
    assert (outcome.code, outcome.err) == (0, "")
    fields = "Tiny\tllama\t37856\tF32"
    assert outcome.out == HEADER + (
        f"mine\tlmlab\t{fields}\t{len(tiny)}\t2048\ttrue\tyes\t{mine}\n"
        f"ollama:tiny:latest\tollama\t{fields}\t{len(tiny) + 1}\t2048\ttrue\tyes\t{blob}\n"
    )


def test_json_has_what_the_table_has_and_what_it_needs_of_memory(lmlab: Lmlab, mine: Path) -> None:
    (only,) = json.loads(lmlab("models", "list", "--json").out)
    assert (only["ref"], only["also"], only["chat_template"], only["fits"]) == ("mine", [], True, "yes")
    assert only["memory"] > only["size"]
    assert only["memory_context"] == 2048


def test_a_terminal_gets_a_table_no_wider_than_it_is(
    on_terminal: Lmlab, stores: Stores, mine: Path, tiny: bytes
) -> None:
    long = stores.add_lm_studio("some-maker-of-models/A-repository-with-a-long-name-GGUF/模型.gguf", tiny + b"\0")
    outcome = on_terminal("models", "list")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["model", "kind", "weights", "quant", "on", "disk", "context", "chat", "fits"]
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].split() == ["mine", "llama", "37,856", "F32", "158", "kB", "2,048", "yes", "yes"]
    # The whole reference is there to be copied, over several lines.
    shown = "".join(line[: lines[0].index("kind")].rstrip() for line in lines[2:])
    assert shown == "~" + str(long)[len(str(stores.home)) :]
    assert outcome.err.startswith("lmlab: 2 models, ")


@pytest.mark.parametrize(("available", "fits"), [(10**12, "yes"), (137_000_000, "short"), (10**6, "no")])
def test_what_fits_follows_the_memory_that_is_free(
    lmlab: Lmlab, mine: Path, monkeypatch: pytest.MonkeyPatch, available: int, fits: str
) -> None:
    monkeypatch.setattr("lmlab.models.memory_need.available_memory", lambda: available)
    assert json.loads(lmlab("models", "list", "--json").out)[0]["fits"] == fits


def test_broken_files_are_said_and_the_list_goes_on(lmlab: Lmlab, stores: Stores, mine: Path) -> None:
    cut = stores.add_lm_studio("maker/Repo/cut.gguf", b"GGUF")
    outcome = lmlab("models", "list", "--json")
    assert [one["ref"] for one in json.loads(outcome.out)] == ["mine"]
    assert outcome.err.startswith(f"lmlab: {cut} is cut short")


def test_folders_of_the_config_file_are_looked_at(lmlab: Lmlab, tmp_path: Path, home: Path, tiny: bytes) -> None:
    folder = tmp_path / "mit Leerzeichen ü"
    folder.mkdir()
    (folder / "there.gguf").write_bytes(tiny)
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(f"model_folders = ['{folder}']\n")
    assert [one["ref"] for one in json.loads(lmlab("models", "list", "--json").out)] == ["there"]
    assert lmlab("models", "show", "there").code == 0


@pytest.mark.parametrize(
    ("value", "says"),
    [('"x"', "must be a list of folders"), ("[3]", "must be a list of folders"), ('["x"]', "give the whole path")],
)
def test_folders_that_are_none_are_refused(lmlab: Lmlab, home: Path, value: str, says: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(f"model_folders = {value}\n")
    outcome = lmlab("models", "list")
    assert outcome.code == 2
    assert says in outcome.err


def test_the_catalogue_says_what_is_here_and_what_nobody_tested(lmlab: Lmlab, stores: Stores, tiny: bytes) -> None:
    stores.add_cached("ggml-org/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", tiny)
    entries = {entry["name"]: entry for entry in json.loads(lmlab("models", "list", "--catalogue", "--json").out)}
    assert len(entries) == 10
    assert [name for name, entry in entries.items() if entry["here"]] == ["qwen3-0.6b"]
    assert [name for name, entry in entries.items() if entry["tested"]] == ["smollm2", "gemma3-270m"]
    lines = lmlab("models", "list", "--catalogue").out.splitlines()
    assert len(lines) == 11
    assert all(("not tested here" in line) != line.startswith(("smollm2", "gemma3-270m")) for line in lines[1:])


# show


def shown(text: str) -> dict[str, str]:
    """Return what ``show`` printed, by label."""
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line.strip())
    return {label: value.strip() for label, value in pairs if label}


def test_show_tabulates_a_model(lmlab: Lmlab, mine: Path) -> None:
    outcome = lmlab("models", "show", "mine")
    assert (outcome.code, outcome.err) == (0, "")
    said = shown(outcome.out)
    assert said["parameters"] == "37,856"
    assert (said["vocabulary"], said["layers"], said["embedding"]) == ("269", "2", "32")
    assert (said["heads"], said["KV heads"], said["head size"], said["feed-forward"]) == ("4", "4", "8", "64")
    assert (said["context"], said["tokenizer"]) == ("2,048 tokens", "gpt2/gpt-2")
    assert said["KV, 1,000 tokens, f16"] == "256 kB"
    assert said["KV, 1,000 tokens, q8_0"] == "136 kB"
    assert said["chat template"].startswith("{% for message in messages %}")
    assert said["recommended sampling"] == "none in the file: llama.cpp's defaults"
    assert "sliding window" not in said


def test_show_of_the_real_chat_model(lmlab: Lmlab, smollm2: Path) -> None:
    said = shown(lmlab("models", "show", str(smollm2)).out)
    assert said["licence"] == "apache-2.0"
    assert said["quantization"] == "Q4_1"
    assert said["rope"] == "base 100,000, 64 dimensions"
    assert said["KV, 1,000 tokens, f16"] == "23.0 MB"
    assert said["fingerprint"] == json.loads(lmlab("models", "show", str(smollm2), "--json").out)["fingerprint"]


def test_a_recurrent_model_has_a_state_in_place_of_kv(lmlab: Lmlab, tmp_path: Path) -> None:
    said = shown(lmlab("models", "show", str(write_recurrent(tmp_path / "m.gguf"))).out)
    assert (said["KV, 1,000 tokens"], said["state of a sequence"]) == ("none", "6 kB")
    assert said["chat template"] == "none: a base model, which continues text"


def test_recommended_sampling_and_what_is_left_out_of_it(lmlab: Lmlab, tmp_path: Path) -> None:
    values = {"general.sampling.temp": 0.6, "general.sampling.top_p": 7.0, "general.sampling.top_k": 20}
    path = write_llama(tmp_path / "m.gguf", values=values)
    outcome = lmlab("models", "show", str(path))
    assert shown(outcome.out)["recommended sampling"] == "temperature 0.60, top-k 20"
    assert "recommends top-p 7.0" in outcome.err


def test_two_models_are_lined_up_and_what_differs_is_marked(lmlab: Lmlab, mine: Path, tmp_path: Path) -> None:
    other = write_sliding_window(tmp_path / "other.gguf")
    outcome = lmlab("models", "show", "mine", str(other))
    marked = {line[3:].split("  ")[0].strip() for line in outcome.out.splitlines() if line.startswith("≠")}
    plain = {line[3:].split("  ")[0].strip() for line in outcome.out.splitlines() if line.startswith("   ")}
    assert {"architecture", "parameters", "sliding window", "chat template", "fingerprint"} <= marked
    assert {"reference", "name", "vocabulary", "layers", "heads", "KV, 1,000 tokens, f16"} <= plain
    said = json.loads(lmlab("models", "show", "mine", str(other), "--json").out)
    assert [model["architecture"] for model in said["models"]] == ["llama", "gemma2"]
    assert "sliding_window" in said["different_hyperparameters"]
    assert "layers" not in said["different_hyperparameters"]


def test_a_model_beside_itself_has_no_marks(lmlab: Lmlab, mine: Path) -> None:
    assert "≠" not in lmlab("models", "show", "mine", "mine").out


def test_lined_up_models_keep_to_the_terminal(on_terminal: Lmlab, mine: Path, tmp_path: Path) -> None:
    outcome = on_terminal("models", "show", "mine", str(write_sliding_window(tmp_path / "other.gguf")))
    assert max(map(cell_len, outcome.out.splitlines())) <= 92


def test_the_template_is_printed_whole_and_alone(lmlab: Lmlab, mine: Path, tmp_path: Path) -> None:
    assert lmlab("models", "show", "mine", "--template").out == CHATML + "\n"
    base = write_llama(tmp_path / "base.gguf")
    outcome = lmlab("models", "show", str(base), "--template")
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no chat template" in outcome.err
    assert lmlab("models", "show", "mine", "mine", "--template").code == 2


def test_text_in_a_file_cannot_drive_the_terminal(on_terminal: Lmlab, tmp_path: Path) -> None:
    values = {"general.name": "a\x1b[2Jb", "general.license": "\x1b]0;x\x07", "tokenizer.ggml.pre": "\x9b1m"}
    path = write_llama(tmp_path / "m.gguf", values=values, chat_template="\x1b[31m{{ messages }}")
    for options in ((), ("--json",), ("--template",)):
        outcome = on_terminal("models", "show", str(path), *options)
        assert outcome.code == 0
        assert not {"\x1b", "\x07", "\x9b"} & set(outcome.out + outcome.err)


def test_show_fetches_nothing(lmlab: Lmlab) -> None:
    outcome = lmlab("models", "show", "smollm2")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "lmlab: smollm2 is not here: fetch it first with lmlab models pull smollm2\n"


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

    monkeypatch.setattr("lmlab.cli.models.resolve", stop)
    outcome = lmlab("models", "pull", "hf:a/b:Q4_K_M")
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
    assert "removed mine, 158 kB are free" in outcome.err
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
        ("show ", {"mine", "ollama:tiny:latest", "hf:owner/Tiny-GGUF:Q8_0"}),
        ("show m", {"mine"}),
        ("remove o", {"ollama:tiny:latest"}),
        ("pull qwen3", {"qwen3-0.6b", "qwen3.5-0.8b"}),
        ("alias f", {"fast"}),
        ("alias x hf", {"hf:owner/Tiny-GGUF:Q8_0"}),
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
    words = f"lmlab models {typed}"
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
