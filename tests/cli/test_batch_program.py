"""``lmlab batch`` as a program of its own on real workers: killed, interrupted, piped, with both real models."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from harness import Program

ROWS = 40
KILLS = 50


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"id": number, "prompt": f"Say {number}."}) + "\n" for number in range(count)))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.timeout(900)
def test_killed_at_any_moment_the_same_command_ends_with_each_row_once(
    start: Program, tiny: Path, tmp_path: Path
) -> None:
    """Fifty kills at random moments, of which each has some rows done or none; then the run that ends."""
    rows = questions(tmp_path / "rows.jsonl", ROWS)
    out = tmp_path / "out.jsonl"
    arguments = ("batch", "-i", str(rows), "-o", str(out), "-m", str(tiny), "-n", "8", "--raw", "-c", "512", "--quiet")
    moments = random.Random(7)
    whole = 0
    for _ in range(KILLS):
        process = start(*arguments)
        try:
            # A whole run takes some two seconds, loading included.
            process.wait(timeout=moments.uniform(0.2, 2.2))
            whole += 1
            out.unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        finally:
            process.communicate()
        if out.exists():
            for line in out.read_bytes().splitlines(keepends=True)[:-1]:
                json.loads(line)
    assert whole < KILLS
    code, _, err = finished(start(*arguments))
    assert code == 0, err
    done = lines(out)
    assert sorted(line["id"] for line in done) == sorted(str(number) for number in range(ROWS))
    assert len({line["key"] for line in done}) == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts as POSIX does")
def test_an_interrupt_finishes_what_is_being_made_and_says_how_to_go_on(
    start: Program, tiny: Path, tmp_path: Path
) -> None:
    rows = questions(tmp_path / "rows.jsonl", 3000)
    out = tmp_path / "out.jsonl"
    arguments = ("batch", "-i", str(rows), "-o", str(out), "-m", str(tiny), "-n", "8", "--raw", "-c", "512")
    process = start(*arguments)
    written = threading.Event()

    def watch() -> None:
        while process.poll() is None and not (out.exists() and out.stat().st_size):
            written.wait(0.02)
        written.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert written.wait(60)
    watcher.join()
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130, err
    assert "the same command goes on from here" in err
    first = lines(out)
    assert 0 < len(first) < 3000
    assert all(line["finish_reason"] != "cancelled" for line in first)
    # What is there stays as it is.
    code, _, err = finished(start(*arguments, "--limit", "200"))
    assert code == 0, err
    assert lines(out)[: len(first)] == first


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_signal_that_ends_it_leaves_nothing_beside_the_output(start: Program, tiny: Path, tmp_path: Path) -> None:
    rows = questions(tmp_path / "rows.jsonl", 2000)
    out = tmp_path / "out.jsonl"
    process = start(
        "batch", "-i", str(rows), "-o", str(out), "-m", str(tiny), "-n", "8", "--raw", "-c", "512", "--quiet"
    )
    moment = threading.Event()
    while not (out.exists() and out.stat().st_size) and process.poll() is None:
        moment.wait(0.02)
    process.terminate()
    code, _, err = finished(process)
    assert (code, err) == (128 + signal.SIGTERM, "")
    assert all(line["finish_reason"] != "cancelled" for line in lines(out))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "rows.jsonl"]


def test_two_runs_on_one_output_do_not_mix(start: Program, tiny: Path, tmp_path: Path) -> None:
    rows = questions(tmp_path / "rows.jsonl", 2000)
    out = tmp_path / "out.jsonl"
    arguments = ("batch", "-i", str(rows), "-o", str(out), "-m", str(tiny), "-n", "8", "--raw", "-c", "512")
    first = start(*arguments)
    try:
        held = threading.Event()
        while not out.exists() and first.poll() is None:
            held.wait(0.02)
        code, _, err = finished(start(*arguments))
        assert code == 2
        assert "another run is writing to" in err
    finally:
        first.kill()
        first.communicate()


def test_a_pipe_that_is_closed_ends_it_quietly(start: Program, tiny: Path, tmp_path: Path) -> None:
    rows = questions(tmp_path / "rows.jsonl", 2000)
    process = start("batch", "-i", str(rows), "-m", str(tiny), "-n", "4", "--raw", "-c", "512", "--quiet")
    assert process.stdout is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()


def test_a_reward_model_chooses(start: Program, tiny: Path, tmp_path: Path) -> None:
    reranker = tiny_models.write_reranker(tmp_path / "reward.gguf")
    rows = questions(tmp_path / "rows.jsonl", 3)
    code, out, err = finished(
        start(
            *("batch", "-i", str(rows), "-m", str(tiny), "-n", "4", "--raw", "-c", "512", "--quiet"),
            *("--best-of", "3", "--select", f"reward:{reranker}"),
        )
    )
    assert code == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    for line in found:
        scores = [one["score"] for one in line["candidates"]]
        assert scores[line["selected"]] == max(scores)
    assert len({one["score"] for line in found for one in line["candidates"]}) > 1


@pytest.mark.parametrize("technique", ["zero-shot", "few-shot", "cot", "few-shot-cot"])
@pytest.mark.parametrize("model", ["smollm2", "gemma3"])
def test_real_models_answer_by_every_technique(
    start: Program, request: pytest.FixtureRequest, tmp_path: Path, model: str, technique: str
) -> None:
    path: Path = request.getfixturevalue(model)
    rows = tmp_path / "rows.csv"
    rows.write_text('id,text,label\n1,"I love it, it works well",positive\n2,It broke on the first day,negative\n')
    out = tmp_path / "out.jsonl"
    code, _, err = finished(
        start(
            *("batch", "-i", str(rows), "-o", str(out), "-t", "sentiment", "--technique", technique),
            *("-m", str(path), "-n", "24", "--temp", "0", "-c", "2048"),
        )
    )
    assert code == 0, err
    found = {line["id"]: line for line in lines(out)}
    assert set(found) == {"1", "2"}
    assert {line["expected"] for line in found.values()} == {"positive", "negative"}
    assert "2 answers are as expected" in err
    if technique.startswith("few-shot"):
        assert max(line["usage"]["cached_tokens"] for line in found.values()) > 50
        if technique == "few-shot" and model == "smollm2":
            assert {line["answer"] for line in found.values()} <= {"positive", "negative", "neutral"}


def test_one_model_follows_another(start: Program, tiny: Path, tmp_path: Path) -> None:
    other = tiny_models.write_llama(tmp_path / "other.gguf", seed=1)
    rows = questions(tmp_path / "rows.jsonl", 3)
    code, out, err = finished(
        start("batch", "-i", str(rows), "-m", str(tiny), "-m", str(other), "-n", "2", "--raw", "-c", "512")
    )
    assert code == 0, err
    assert sorted(json.loads(line)["variant"] for line in out.splitlines()) == ["other"] * 3 + ["tiny"] * 3


def test_environment_variables_stand_for_options(start: Program, tiny: Path, tmp_path: Path) -> None:
    rows = questions(tmp_path / "rows.jsonl", 2)
    variables = {"LMLAB_INPUT": str(rows), "LMLAB_MAX_TOKENS": "2", "LMLAB_RAW": "1", "LMLAB_MODEL": str(tiny)}
    code, out, err = finished(start("batch", "--quiet", env={**os.environ, **variables}))
    assert code == 0, err
    assert {line["usage"]["completion_tokens"] for line in map(json.loads, out.splitlines())} <= {1, 2}
