"""llama.cpp looked at in a worker process, and every way that can end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tiny_models import write_encoder, write_llama, write_recurrent

from lmlab.backends import LoadSpec, examining, process
from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped
from lmlab.lab.doctor.engine import Engine
from lmlab.lab.doctor.finding import Finding
from lmlab.worker.examining.examining import features


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[WorkerProcess]]:
    """The processes that were started; all must have ended when the test does."""
    started: list[WorkerProcess] = []

    def start(folder: Path, *, program: str) -> WorkerProcess:
        started.append(WorkerProcess(folder, program=program))
        return started[-1]

    monkeypatch.setattr(process, "WorkerProcess", start)
    yield started
    assert [process for process in started if process._process.poll() is None] == []


def looked(spec: LoadSpec | None, folder: Path) -> Engine:
    engine = Engine()
    engine.look(spec, log_folder=folder / "logs", cancelled=lambda: False)
    return engine


def by_name(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_build_says_what_it_is(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    engine = looked(None, tmp_path)
    assert engine.build is not None
    assert engine.build.threads >= 1
    assert engine.build.devices is not None
    found = by_name(engine.versions())
    assert set(found) == {"lmlab", "Python", "llama.cpp"}
    assert {finding.level for finding in found.values()} == {"ok"}
    assert f"llama-cpp-python {engine.build.binding}, ggml " in found["llama.cpp"].text
    assert list(engine.loading("x")) == []
    assert not engine.can_load


def test_a_model_is_laid_out_as_it_would_be_loaded(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    path = write_llama(tmp_path / "tiny.gguf")
    engine = looked(LoadSpec(str(path), context=1024, threads=1), tmp_path)
    assert engine.can_load
    found = by_name(engine.loading("tiny"))
    assert found["layout"].text == (
        "tiny: 1,024 of 2,048 tokens of context, 8 sequences at once (n_seq_max), 8 rows of logits a step "
        "(n_outputs_max), ubatch 512, 1 thread, flash attention"
    )
    # 1,024 cells, 2 layers, 4 heads of 8 keys and as many values, 2 bytes each.
    assert found["layout"].values["kv"] == 1024 * 2 * 2 * 4 * 8 * 2


def test_a_recurrent_model_is_laid_out_too(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    engine = looked(LoadSpec(str(write_recurrent(tmp_path / "r.gguf")), threads=1), tmp_path)
    assert engine.can_load


def test_a_model_that_cannot_answer_is_a_finding(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    for path in (write_encoder(tmp_path / "encoder.gguf"), tmp_path / "none.gguf"):
        engine = looked(LoadSpec(str(path), threads=1), tmp_path)
        assert engine.build is not None
        (finding,) = engine.loading("it")
        assert (finding.level, str(path) in finding.text) == ("broken", True)
        assert not engine.can_load


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals")
def test_a_worker_that_dies_is_a_finding_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: list[WorkerProcess]
) -> None:
    for number, said, advice in (
        (signal.SIGILL, "it crashed (SIGILL)", "instructions that this processor does not have; build it here: pip"),
        (signal.SIGKILL, "it was killed (SIGKILL)", "build it anew: pip install"),
    ):
        monkeypatch.setattr(WorkerProcess, "connect", lambda process, number=number: _killed(process, number))
        engine = looked(None, tmp_path)
        found = by_name(engine.versions())["llama.cpp"]
        assert found.level == "broken"
        assert said in found.text
        assert "\n" not in found.text
        assert found.advice is not None
        assert advice in found.advice


def _killed(process: WorkerProcess, number: int) -> None:
    os.kill(process.pid, number)
    process._process.wait()
    raise process.explain()


def test_one_that_dies_of_the_model_leaves_the_build_known(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    path = write_llama(tmp_path / "twice.gguf", values={"tokenizer.ggml.tokens": ["same"] * 269})
    engine = looked(LoadSpec(str(path), threads=1), tmp_path)
    assert engine.build is not None
    assert by_name(engine.versions())["llama.cpp"].level == "ok"
    (finding,) = engine.loading("twice")
    assert finding.level == "broken"
    assert finding.text.startswith("twice: the engine stopped: llama.cpp gave up: ")
    assert not engine.can_load


def test_logs_that_can_be_written_nowhere_are_a_finding(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    found = by_name(looked(None, tmp_path).versions())["llama.cpp"]
    assert (found.level, found.advice) == ("broken", "see the section files")


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals")
def test_one_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: list[WorkerProcess]
) -> None:
    connect = WorkerProcess.connect

    def connect_and_stop(process: WorkerProcess) -> Connection:
        connection = connect(process)
        os.kill(process.pid, signal.SIGSTOP)
        return connection

    monkeypatch.setattr(WorkerProcess, "connect", connect_and_stop)
    with pytest.raises(EngineStopped, match=r"the engine said nothing for 0 s \(log: .*\.log\)"):
        examining.run_examine(None, lambda report: None, log_folder=tmp_path / "logs", patience_s=0)


def test_it_ends_when_it_is_not_wanted_any_more(tmp_path: Path, processes: list[WorkerProcess]) -> None:
    engine = Engine()
    engine.look(None, log_folder=tmp_path / "logs", cancelled=lambda: True)
    assert engine.build is None


def test_features_are_those_that_are_on() -> None:
    said = "CUDA : ARCHS = 500,610 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX = 0 | SVE_CNT = 16 | "
    assert features(said) == ("ARCHS=500,610", "USE_GRAPHS", "SSE3", "SVE_CNT=16")
    assert features("") == ()
