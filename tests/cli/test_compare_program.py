"""``lmlab compare`` as a person starts it, with real models: divergence, and Ctrl-C in the middle of the answers."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from harness import Program

TIMEOUT_S = 120
WORDS = "hello world, and again; " * 500


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, str]:
    return tuple(str(tiny_models.write_llama(tmp_path / f"{seed}.gguf", seed=seed)) for seed in (1, 2))  # type: ignore[return-value]


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out.decode(), err.decode()


def test_divergence_over_a_text_is_measured_and_kept(start: Program, models: tuple[str, str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(WORDS, encoding="utf-8")
    home = {"LMLAB_HOME": str(tmp_path / "home")}
    code, out, err = finish(start("compare", *models, "--kl", str(text), "--json", env=home))
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    (line,) = found["divergences"]
    assert line["why"] is None
    assert line["figures"]["figures"]["kl"]["value"] > 0.01
    (record,) = (tmp_path / "home" / "comparisons").glob("*.jsonl")
    assert [json.loads(kept)["kind"] for kept in record.read_text("utf-8").splitlines()] == ["comparison", "divergence"]


def test_vocabularies_that_differ_are_said_and_nothing_measured_is_a_failure(
    start: Program, models: tuple[str, str], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(WORDS, encoding="utf-8")
    other = tiny_models.write_llama(tmp_path / "other.gguf", tokenizer="spm")
    home = {"LMLAB_HOME": str(tmp_path / "home")}
    code, out, err = finish(start("compare", models[0], str(other), "--kl", str(text), env=home))
    assert (code, err.count("Traceback")) == (1, 0)
    assert "not measured" in out
    assert "vocabular" in out


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    start: Program, models: tuple[str, str], tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"hello world {number}\n" for number in range(400)), encoding="utf-8")
    home = {"LMLAB_HOME": str(tmp_path / "home")}
    command = ("compare", *models, "-i", str(prompts), "--raw", "-n", "24", "--quiet")
    process = start(*command, env=home)
    folder = tmp_path / "home" / "comparisons"
    while not any(path.stat().st_size > 10_000 for path in folder.glob("*.jsonl")):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert process.returncode is None, process.communicate()
    process.send_signal(signal.SIGINT)
    code, _, _ = finish(process)
    assert code == 130
    (record,) = folder.glob("*.jsonl")
    answers = [line for line in map(json.loads, record.read_text("utf-8").splitlines()) if line["kind"] == "answer"]
    assert 0 < len(answers) < 800
    code, out, err = finish(start(*command, "--json", env=home))
    assert code == 0, err
    figures = json.loads(out)["figures"]
    assert [one["answers"] for one in figures.values()] == [400, 400]
