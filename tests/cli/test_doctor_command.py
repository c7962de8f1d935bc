"""``lmlab doctor``, whole: each kind of finding provoked, and how it is shown on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import Lmlab, Outcome, Program, Terminal
from model_stores import Stores
from rich.cells import cell_len
from tiny_models import CHATML, write_encoder, write_llama

from lmlab.backends.process import WorkerProcess
from lmlab.lab.doctor import probe
from lmlab.lab.tuning.machine import machine as this_machine
from lmlab.lab.tuning.saved import Tuned, keep
from lmlab.lab.tuning.settings import Settings
from lmlab.models import fingerprint
from lmlab.settings import Paths, private_folder, write_private

HEADER = "section\tname\tlevel\ttext\tadvice"
QUICK = ("doctor", "--no-generate")


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setenv("SHELL", "/bin/bash")
    for name in ("CUDA_VISIBLE_DEVICES", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be a machine with these tools and no others, and with no files of a system."""
    real = probe.Probe

    def pretend(**tools: str) -> None:
        def run(command: Sequence[str]) -> str | None:
            return tools.get(command[0].replace("-", "_"))

        monkeypatch.setattr(probe, "Probe", lambda: real(root=tmp_path / "machine", platform="linux", run=run))

    pretend()
    return pretend


@pytest.fixture(autouse=True)
def machine(pretend: Callable[..., None]) -> None:
    """A machine without a GPU, whatever the tests run on."""


@pytest.fixture
def mine() -> Path:
    """A model in lmlab's own folder."""
    return write_llama(private_folder(Paths.find().models) / "mine.gguf", chat_template=CHATML)


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    def call(*arguments: str, columns: int = 80) -> Outcome:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "24")
        monkeypatch.setenv("TERM", "xterm-256color")
        with Terminal() as out, Terminal() as err:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments).code, out.shown, err.shown)

    return call


def looked(outcome: Outcome) -> dict[tuple[str, str], tuple[str, str, str]]:
    """Return level, text and advice by section and name; of several of one name the last."""
    head, *lines = outcome.out.splitlines()
    assert head == HEADER
    rows = [line.split("\t") for line in lines]
    return {(section, name): (level, text, advice) for section, name, level, text, advice in rows}


def broken(outcome: Outcome) -> set[tuple[str, str]]:
    return {key for key, (level, _, _) in looked(outcome).items() if level == "broken"}


def test_a_first_start_is_sound_and_says_how_to_fetch_a_model(lmlab: Lmlab) -> None:
    outcome = lmlab("doctor")
    assert (outcome.code, outcome.err, broken(outcome)) == (0, "", set())
    found = looked(outcome)
    assert found["models", "default"][2] == "fetch it now: lmlab models pull smollm2"
    sections = list(dict.fromkeys(section for section, _ in found))
    assert sections == ["versions", "processor", "GPU", "memory", "files", "settings", "terminal", "sessions", "models"]


def test_a_model_that_is_here_speaks(lmlab: Lmlab, mine: Path) -> None:
    outcome = lmlab("doctor", "--threads", "1")
    found = looked(outcome)
    assert (outcome.code, broken(outcome)) == (0, set())
    assert found["loading", "layout"][1].startswith(f"{mine}: 2,048 of 2,048 tokens of context, ")
    assert found["generation", "repeats"][:2] == ("ok", "greedy, twice the same 48 tokens")
    assert found["generation", "speed"][1].endswith(" tokens/s; lmlab bench measures it properly")


def test_one_may_be_named_and_need_not_speak(lmlab: Lmlab, mine: Path, tmp_path: Path) -> None:
    other = write_llama(tmp_path / "other.gguf")
    found = looked(lmlab("doctor", "--no-generate", "-m", str(other), "-c", "512", "-ub", "128"))
    assert found["models", "default"][1] == f"{other}, as asked for"
    assert "512 of 2,048 tokens of context" in found["loading", "layout"][1]
    assert "ubatch 128" in found["loading", "layout"][1]
    assert "generation" not in {section for section, _ in found}


def test_a_draft_is_said_not_to_be_tried(lmlab: Lmlab, mine: Path) -> None:
    found = looked(lmlab(*QUICK, "--draft", "lookup"))
    assert found["loading", "draft"][0] == "note"
    # Drafted tokens need rows of logits beside those of the sequences.
    assert "24 rows of logits a step" in found["loading", "layout"][1]
    assert ("loading", "draft") not in looked(lmlab(*QUICK))


def test_settings_that_were_tuned_are_named_and_used(lmlab: Lmlab, mine: Path) -> None:
    tuned = Tuned(
        *(fingerprint(mine), this_machine(), "mine", Settings(threads=1, ubatch=64), None, "decode"),
        *(0.2, 0.1, 0.3, "2026-01-02T03:04:05+00:00", "0.1.0", "0.3.36"),
    )
    keep(Paths.find(), tuned)
    found = looked(lmlab(*QUICK))
    assert found["settings", "tuned"][1] == "mine: 1 thread, ubatch 64 (+20% decode, 2026-01-02)"
    assert "ubatch 64, 1 thread" in found["loading", "layout"][1]
    assert "ubatch 32," in looked(lmlab(*QUICK, "--ubatch", "32"))["loading", "layout"][1]


def test_json_has_the_numbers_and_the_same_exit_code(lmlab: Lmlab, mine: Path) -> None:
    outcome = lmlab(*QUICK, "--json")
    said = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    by_name = {(one["section"], one["name"]): one for one in said["findings"]}
    assert by_name["memory", "main memory"]["values"]["total"] > 10**8
    assert by_name["loading", "layout"]["values"]["sequences"] == 8
    assert set(by_name["versions", "lmlab"]) == {"section", "name", "level", "text", "advice", "values"}
    write_private(Paths.find().config, "modle = 1")
    outcome = lmlab(*QUICK, "--json")
    assert (outcome.code, json.loads(outcome.out)["worst"]) == (1, "broken")


def test_a_machine_with_a_gpu_that_the_build_cannot_use_is_broken(
    lmlab: Lmlab, pretend: Callable[..., None], on_terminal: Callable[..., Outcome]
) -> None:
    if json.loads(lmlab(*QUICK, "--json").out)["findings"][2]["values"]["gpu_offload"]:
        pytest.skip("this build computes on GPUs")
    pretend(nvidia_smi="NVIDIA GeForce RTX 4090, 24564, 550.1\n")
    outcome = lmlab(*QUICK)
    assert (outcome.code, broken(outcome)) == (1, {("GPU", "used")})
    _, text, advice = looked(outcome)["GPU", "used"]
    assert text == "none: the build has no GPU support, and NVIDIA GeForce RTX 4090 is idle"
    assert 'CMAKE_ARGS="-DGGML_CUDA=on" pip install ' in advice
    # In red, and the command in one piece, to be copied.
    shown = on_terminal(*QUICK).out
    assert "\x1b[1;31m used         none: the build has no GPU support" in shown
    assert any('CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall' in line for line in shown.splitlines())


def test_settings_and_a_store_that_are_damaged_are_found_and_nothing_is_raised(lmlab: Lmlab) -> None:
    paths = Paths.find()
    write_private(paths.config, "[sampling\n")
    write_private(paths.database, "no database, though it is called one " * 100)
    write_private(paths.presets, "{")
    write_private(paths.last_model, "/gone.gguf\n")
    outcome = lmlab(*QUICK)
    assert (outcome.code, outcome.err) == (1, "")
    assert broken(outcome) == {("settings", "config file"), ("settings", "presets"), ("sessions", "database")}
    assert "Traceback" not in outcome.out
    # The last model is gone, and the starter is not here.
    assert looked(outcome)["models", "default"][0] == "note"


def test_folders_that_cannot_be_used_are_found(lmlab: Lmlab) -> None:
    paths = Paths.find()
    private_folder(paths.data)
    paths.logs.write_text("")
    outcome = lmlab(*QUICK)
    assert outcome.code == 1
    assert broken(outcome) == {("files", "logs"), ("versions", "llama.cpp")}
    assert looked(outcome)["versions", "llama.cpp"][2] == "see the section files"


def test_a_worker_that_dies_is_a_finding(lmlab: Lmlab, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(process: WorkerProcess) -> None:
        process._process.kill()
        process._process.wait()
        raise process.explain()

    monkeypatch.setattr(WorkerProcess, "connect", die)
    outcome = lmlab("doctor")
    assert (outcome.code, broken(outcome)) == (1, {("versions", "llama.cpp")})
    assert "the engine stopped: " in looked(outcome)["versions", "llama.cpp"][1]
    assert ("models", "here") in looked(outcome)


def test_a_model_that_ends_the_engine_or_cannot_speak_is_a_finding(lmlab: Lmlab, tmp_path: Path) -> None:
    twice = write_llama(tmp_path / "twice.gguf", values={"tokenizer.ggml.tokens": ["same"] * 269})
    encoder = write_encoder(tmp_path / "encoder.gguf")
    for path, says in ((twice, "llama.cpp gave up"), (encoder, "is an encoder")):
        outcome = lmlab("doctor", "-m", str(path))
        assert (outcome.code, broken(outcome)) == (1, {("loading", "layout")})
        assert says in looked(outcome)["loading", "layout"][1]


def test_variables_are_said_and_those_that_do_nothing_too(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LMLAB_TOP_K": "20",
        "LMLAB_TEMPRATURE": "1",
        "HF_TOKEN": "hf_secret",
        "LMLAB_VAR": "a=b",
        "LMLAB_SYSTEM": "x\x1b[2Jy",
    }.items():
        monkeypatch.setenv(name, value)
    outcome = lmlab(*QUICK)
    rows = [line.split("\t") for line in outcome.out.splitlines() if line.startswith("settings\tvariables")]
    assert [row[2] for row in rows] == ["ok", "warning"]
    assert "LMLAB_TOP_K=20" in rows[0][3]
    assert "HF_TOKEN is set" in rows[0][3]
    assert "\x1b" not in rows[0][3]
    assert rows[1][3:] == [
        "LMLAB_TEMPRATURE is set, and no option is called so: it does nothing",
        "unset LMLAB_TEMPRATURE",
    ]
    assert "hf_secret" not in outcome.out
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LMLAB_THREADS", "many", "--threads many"),
        ("LMLAB_TEMP", "hot", "temperature 'hot'"),
        ("LMLAB_PRESET", "no", "no preset"),
    ],
)
def test_a_variable_that_cannot_be_is_broken(
    lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    outcome = lmlab(*QUICK)
    assert (outcome.code, broken(outcome)) == (1, {("settings", "variables")})
    assert says in looked(outcome)["settings", "variables"][1]


def test_what_is_typed_wrong_is_an_error_of_the_command_line(lmlab: Lmlab) -> None:
    outcome = lmlab(*QUICK, "--threads", "many")
    assert (outcome.code, outcome.out) == (2, "")


def test_completion_is_seen(lmlab: Lmlab, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    assert looked(lmlab(*QUICK))["terminal", "completion"] == (
        "note",
        "not installed for bash",
        "lmlab --install-completion",
    )
    for shell, script in (("fish", ".config/fish/completions/lmlab.fish"), ("zsh", ".zfunc/_lmlab")):
        monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
        (stores.home / script).parent.mkdir(parents=True)
        (stores.home / script).touch()
        assert looked(lmlab(*QUICK))["terminal", "completion"][:2] == ("ok", f"installed for {shell}")
    monkeypatch.setenv("SHELL", "")
    assert looked(lmlab(*QUICK))["terminal", "completion"][0] == "ok"


def plain(text: str) -> str:
    for style in ("0", "1", "32", "36", "33", "1;31"):
        text = text.replace(f"\x1b[{style}m", "")
    return text


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_terminal_gets_sections_no_wider_than_it_is(
    on_terminal: Callable[..., Outcome], mine: Path, columns: int
) -> None:
    outcome = on_terminal(*QUICK, columns=columns)
    lines = plain(outcome.out).splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "versions"
    assert lines[-1] == "nothing is wrong"
    # Advice is one line, whatever its length, to be copied.
    assert max(cell_len(line) for line in lines if "→" not in line) <= max(columns, 46)


def test_colours_are_left_out_where_nobody_wants_them(
    on_terminal: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b[32m✓" in on_terminal(*QUICK).out
    assert "\x1b" not in on_terminal(*QUICK, "--no-color").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in on_terminal(*QUICK).out


def test_what_is_wrong_is_counted_at_the_end(on_terminal: Callable[..., Outcome]) -> None:
    private_folder(Paths.find().data)
    write_private(Paths.find().config, "x = 1")
    outcome = on_terminal(*QUICK)
    assert outcome.code == 1
    assert plain(outcome.out).splitlines()[-1] == "1 broken"


def test_a_terminal_without_utf_8_gets_plain_marks(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> None:
    with Terminal() as out:
        out.reconfigure(encoding="ascii")
        monkeypatch.setattr(sys, "stdout", out)
        lmlab(*QUICK)
        shown = plain(out.shown)
    assert shown.isascii()
    assert "+ lmlab" in shown
    assert "letters outside it are shown as codes" in " ".join(shown.split())


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals")
def test_ctrl_c_ends_it(start: Program, mine: Path) -> None:
    process = start("doctor")
    assert process.stdout is not None
    first: Any = process.stdout.readline()
    assert first.decode().rstrip("\n") == HEADER
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
