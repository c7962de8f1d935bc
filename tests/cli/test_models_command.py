from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from harness import Lmlab, Outcome, Terminal
from model_stores import Stores
from rich.cells import cell_len
from tiny_models import CHATML, write_llama, write_recurrent, write_sliding_window

from lmlab.settings import Paths

HEADER = "ref\tsource\tname\tarchitecture\tparameters\tquantization\tsize\tcontext\tchat_template\tfits\tpath\n"


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
    """Run ``lmlab ARGUMENTS`` on a terminal 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> Outcome:
        with Terminal() as out, Terminal() as err:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments).code, out.shown, err.shown)

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
    assert said["recommended sampling"] == "none in the file"
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
    assert said["chat template"] == "none: a base model"


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
    assert max(map(cell_len, outcome.out.splitlines())) <= 80


def test_the_template_is_printed_whole_and_alone(lmlab: Lmlab, mine: Path, tmp_path: Path) -> None:
    assert lmlab("models", "show", "mine", "--template").out == CHATML + "\n"
    base = write_llama(tmp_path / "base.gguf")
    outcome = lmlab("models", "show", str(base), "--template")
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no chat template" in outcome.err
    assert lmlab("models", "show", "mine", "mine", "--template").code == 2


def test_the_variable_of_prompt_templates_is_not_meant(
    lmlab: Lmlab, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMLAB_TEMPLATE", "summarize")
    outcome = lmlab("models", "show", "mine")
    assert outcome.code == 0
    assert "parameters" in outcome.out


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
