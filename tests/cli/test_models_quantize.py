"""``lmlab models quantize``: what it prints where, what it asks, and how it can be stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Lmlab, Outcome, Program, Terminal
from model_stores import Stores
from tiny_models import write_encoder, write_llama

from lmlab.cli.models_quantize_options import complete_type
from lmlab.errors import ModelLoadError
from lmlab.lab import quantized_cost
from lmlab.lab.bench import Speed, spread_of
from lmlab.lab.divergence import Divergence
from lmlab.lab.quantized_cost import QuantizedCost
from lmlab.lab.quantizing import bits_per_weight
from lmlab.models import read_header
from lmlab.settings import Paths
from lmlab.worker.divergence.messages import Estimate, Figures

QUESTION = "Compare it with the model it was made of? Both read 7,500 words; Ctrl-C ends that early. [Y/n] "


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    monkeypatch.setenv("LMLAB_THREADS", "1")
    return Stores(tmp_path / "person", monkeypatch)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("models") / "tiny-F32.gguf", width=256)


@pytest.fixture
def target() -> Path:
    """Where a tiny model goes as Q8_0 unless told otherwise."""
    return Paths.find().models / "tiny-Q8_0.gguf"


@pytest.fixture
def on_terminal(lmlab: Lmlab, monkeypatch: pytest.MonkeyPatch) -> Lmlab:
    """Run ``lmlab ARGUMENTS`` on a terminal 80 columns wide, where ``typed`` is typed."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, typed: str = "") -> Outcome:
        with Terminal() as out, Terminal() as err:
            monkeypatch.setattr(sys, "stdout", out)
            monkeypatch.setattr(sys, "stderr", err)
            return Outcome(lmlab(*arguments, stdin=Terminal(typed.encode())).code, out.shown, err.shown)

    return call


FIGURES = Figures(
    windows=12,
    planned=12,
    window=512,
    tokens=6144,
    left_over=0,
    scored=3060,
    kl=Estimate(0.0123, 0.0005),
    kl_median=0.004,
    kl_p99=0.11,
    kl_max=1.5,
    agreement=Estimate(0.915, None),
    perplexity_first=Estimate(12.5, 0.5),
    perplexity_second=Estimate(12.75, 0.5),
    perplexity_ratio=Estimate(1.02, None),
    probability_rms=Estimate(0.034, 0.001),
)
OLD = Speed(spread_of([400.0, 410, 390]), spread_of([100.0, 90, 110]), 1, 1)
NEW = Speed(spread_of([600.0, 610, 590]), spread_of([105.0, 95, 115]), 1, 1)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was to be measured; the measuring itself takes no time."""
    asked: list[dict[str, Any]] = []

    def measure(source: Path, quantized: Path, text: str, name: str, **options: Any) -> QuantizedCost:
        asked.append({"source": source, "quantized": quantized, "text": text, "name": name, **options})
        return QuantizedCost(name, Divergence("a", "b", FIGURES, None), OLD, NEW)

    monkeypatch.setattr(quantized_cost, "measure_cost", measure)
    return asked


def test_of_a_model_that_makes_no_text_nothing_is_asked(
    on_terminal: Lmlab, tmp_path: Path, measured: list[dict[str, Any]]
) -> None:
    outcome = on_terminal("models", "quantize", str(write_encoder(tmp_path / "encoder.gguf")), "q8_0", typed="y\n")
    target = Paths.find().models / "encoder-Q8_0.gguf"
    assert (outcome.code, outcome.err.replace("\r", "")) == (0, f"lmlab: wrote {target}\n")
    assert measured == []


@pytest.mark.parametrize("option", [["--compare"], ["--text", "words.txt"]], ids=str)
def test_to_compare_one_that_makes_no_text_is_refused_before_anything_is_written(
    lmlab: Lmlab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("some words")
    outcome = lmlab("models", "quantize", str(write_encoder(tmp_path / "encoder.gguf")), "q8_0", *option)
    said = "encoder.gguf is an encoder and makes no text to compare: leave out --compare and --text"
    assert (outcome.code, outcome.out, outcome.err) == (2, "", f"lmlab: {said}\n")
    assert not (Paths.find().models / "encoder-Q8_0.gguf").exists()


def test_a_pipe_gets_fields_and_the_model_is_found_by_its_name(
    lmlab: Lmlab, source: Path, target: Path, measured: list[dict[str, Any]]
) -> None:
    outcome = lmlab("models", "quantize", str(source), "q8_0")
    assert outcome.code == 0
    before, after = read_header(source), read_header(target)
    assert outcome.out == (
        f"what\tbefore\tafter\npath\t{source}\t{target}\nquantization\tF32\tQ8_0\n"
        f"size\t{before.size}\t{after.size}\nbits_per_weight\t32.0000\t{bits_per_weight(after):.4f}\n"
    )
    assert outcome.err == f"lmlab: wrote {target}; use it with -m tiny-Q8_0\n"
    assert measured == []
    assert [line.split("\t")[0] for line in lmlab("models", "list").out.splitlines()] == ["ref", "tiny-Q8_0"]


def test_json_is_one_object(lmlab: Lmlab, source: Path, target: Path, measured: list[dict[str, Any]]) -> None:
    said = json.loads(lmlab("models", "quantize", str(source), "Q8_0", "--json").out)
    assert (said["ref"], said["type"], said["comparison"]) == ("tiny-Q8_0", "Q8_0", None)
    assert said["after"]["path"] == str(target)
    assert said["before"]["bits_per_weight"] == 32
    assert {kind["name"] for kind in said["after"]["tensor_types"]} == {"Q8_0", "F32"}
    said = json.loads(lmlab("models", "quantize", str(source), "Q8_0", "--json", "--force", "--compare").out)
    assert said["comparison"]["figures"]["kl"]["value"] == 0.0123
    assert said["comparison"]["speed"]["after"]["decode"]["median"] == 105
    assert len(measured) == 1


def test_a_terminal_gets_a_table_and_is_asked(
    on_terminal: Lmlab, source: Path, target: Path, measured: list[dict[str, Any]]
) -> None:
    outcome = on_terminal("models", "quantize", str(source), "Q8_0", typed="\n")
    assert outcome.code == 0
    assert outcome.err == f"lmlab: wrote {target}; use it with -m tiny-Q8_0\n{QUESTION}"
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["tiny-F32", "tiny-Q8_0"]
    assert lines[1].split() == ["quantization", "F32", "Q8_0"]
    assert lines[2].split()[-1] == "(-73%)"
    assert "prefill, tokens/s  400 (390 to 410)  600 (590 to 610) (+50%)" in lines
    assert "decode, tokens/s   100 (90 to 110)   105 (95 to 115) (alike)" in lines
    assert "same most likely token 91.5%" in lines
    assert all(len(line) <= 80 for line in lines)
    (asked,) = measured
    assert (asked["source"], asked["quantized"], asked["threads"]) == (source, target, 1)
    assert len(asked["text"].split()) > 5000


@pytest.mark.parametrize("typed", ["n\n", "no\n", "what?\n", ""])
def test_another_answer_means_no(on_terminal: Lmlab, source: Path, measured: list[dict[str, Any]], typed: str) -> None:
    outcome = on_terminal("models", "quantize", str(source), "Q8_0", typed=typed)
    assert (outcome.code, measured) == (0, [])
    assert QUESTION in outcome.err


@pytest.mark.parametrize("option", ["--no-compare", "--quiet", "--json"])
def test_what_says_so_is_not_asked(
    on_terminal: Lmlab, source: Path, measured: list[dict[str, Any]], option: str
) -> None:
    outcome = on_terminal("models", "quantize", str(source), "Q8_0", option, typed="y\n")
    assert (outcome.code, measured) == (0, [])
    assert QUESTION not in outcome.err


def test_a_pipe_gets_what_was_measured_over_ones_own_text(
    lmlab: Lmlab, source: Path, tmp_path: Path, measured: list[dict[str, Any]]
) -> None:
    text = tmp_path / "text"
    text.write_text("Grüße", encoding="utf-8")
    outcome = lmlab("models", "quantize", str(source), "Q8_0", "--text", str(text))
    assert (measured[0]["text"], measured[0]["name"]) == ("Grüße", str(text))
    fields = dict(line.split("\t", 1) for line in outcome.out.splitlines())
    assert fields["perplexity"] == "12.5\t12.75"
    assert fields["kl_divergence"] == "\t0.0123"
    assert fields["top_token_agreement_error"] == "\t"
    assert fields["decode_tokens_per_s"] == "100.0\t105.0"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("Q4_K_X",), "there is no type 'Q4_K_X': did you mean"),
        (("Q8_0", "--text", "/no/such/file"), "--text /no/such/file: cannot read it"),
        (("Q8_0", "--text", "x", "--no-compare"), "give one of them"),
        (("Q8_0", "--threads", "0"), "--threads 0: give a whole number from 1 to 512"),
        (("Q8_0", "--output-type", "IQ2_XXS"), "there is no type 'IQ2_XXS'"),
        (("Q8_0", "-o", "/no/such/folder/x.gguf"), "there is no folder /no/such/folder"),
        (("F32",), "is F32 already"),
    ],
)
def test_a_wrong_line_is_refused_before_anything_is_written(
    lmlab: Lmlab, source: Path, target: Path, arguments: tuple[str, ...], why: str
) -> None:
    outcome = lmlab("models", "quantize", str(source), *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert why in outcome.err
    assert not target.exists()


def test_a_file_that_is_there_stays_unless_forced(lmlab: Lmlab, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"precious")
    refused = lmlab("models", "quantize", str(source), "Q8_0", "-o", str(path))
    assert (refused.code, path.read_bytes()) == (2, b"precious")
    assert "--force replaces it" in refused.err
    outcome = lmlab("models", "quantize", str(source), "Q8_0", "-o", str(path), "--force")
    assert outcome.err == f"lmlab: wrote {path}; use it with -m {path}\n"
    assert read_header(path).quantization == "Q8_0"


def test_what_cannot_be_compared_is_an_error_and_the_model_stays(
    lmlab: Lmlab, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelLoadError("both do not fit")

    monkeypatch.setattr(quantized_cost, "measure_cost", refuse)
    outcome = lmlab("models", "quantize", str(source), "Q8_0", "--compare")
    assert outcome.code == 1
    assert outcome.out.startswith("what\tbefore\tafter\n")
    assert outcome.err.endswith("lmlab: both do not fit\n")
    assert target.exists()


@pytest.mark.parametrize(
    ("found", "out", "err"),
    [
        (
            Divergence("a", "b", FIGURES, None),
            "kl_divergence\t\t0.0123\n",
            "lmlab: stopped: these are the figures so far\n",
        ),
        (None, "", "lmlab: stopped; nothing was compared\n"),
    ],
)
def test_stopped_while_comparing_it_says_what_it_has(
    lmlab: Lmlab,
    source: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: Divergence | None,
    out: str,
    err: str,
) -> None:
    def stop(*_: object, cancelled: Callable[[], bool], **__: object) -> QuantizedCost:
        signal.raise_signal(signal.SIGINT)
        assert cancelled()
        return QuantizedCost("a text", found, None, None)

    monkeypatch.setattr(quantized_cost, "measure_cost", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        outcome = lmlab("models", "quantize", str(source), "Q8_0", "--compare")
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.code == 130
    assert out in outcome.out
    assert ("kl_divergence" in outcome.out) == bool(out)
    assert outcome.err.endswith(err)
    assert target.exists()


def test_types_are_completed_with_their_bits() -> None:
    assert complete_type("Q4_K") == [("Q4_K_M", "4.9 bits a weight"), ("Q4_K_S", "4.7 bits a weight")]
    assert [name for name, _ in complete_type("q4_k")] == ["q4_k_m", "q4_k_s"]
    assert complete_type("IQ1_S") == [("IQ1_S", "2 bits a weight, needs --imatrix")]


def wait_until(predicate: Callable[[], bool]) -> None:
    """Poll until ``predicate`` holds, for what nothing notifies of."""
    end = time.monotonic() + 60
    while not predicate():
        assert time.monotonic() < end, "it did not happen"
        threading.Event().wait(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="a child cannot be sent Ctrl-C alone")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_while_writing_it_leaves_nothing(
    start: Program, smollm2: Path, tmp_path: Path, signal_number: signal.Signals
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    target = folder / "new.gguf"
    program = start("models", "quantize", str(smollm2), "IQ3_S", "--requantize", "-o", str(target))
    wait_until(lambda: os.listdir(folder) != [] or program.poll() is not None)
    program.send_signal(signal_number)
    out, err = program.communicate(timeout=60)
    assert out == b""
    if signal_number == signal.SIGINT:
        assert (program.returncode, err) == (130, b"lmlab: stopped; nothing was written\n")
    else:
        assert program.returncode == -signal_number
    # Of a parent that was killed, the child tidies up as soon as it notices.
    wait_until(lambda: os.listdir(folder) == [])


def test_a_real_model_still_speaks(lmlab: Lmlab, start: Program, smollm2: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    outcome = lmlab("models", "quantize", str(smollm2), "Q4_0", "--requantize", "-o", str(target))
    assert outcome.code == 0
    assert "1 of 272 tensors got a larger type than Q4_0 has for them" in outcome.err
    program = start(
        *("run", "-m", str(target), "--raw", "--temp", "0", "-n", "8", "--quiet"),
        "Paris is the capital of France. Rome is the capital of",
    )
    out, _ = program.communicate(timeout=120)
    assert (program.returncode, out.decode().strip()[:5]) == (0, "Italy")
