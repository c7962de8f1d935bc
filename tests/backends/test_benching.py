"""A process that measures speed: its answers, and every way it can end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import tiny_models

from lmlab.backends.benching import BenchProcess
from lmlab.errors import EngineStopped, ModelLoadError, UsageError
from lmlab.worker.benching.messages import Run
from lmlab.worker.messages import LoadSpec


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture
def spec(model: Path) -> LoadSpec:
    return LoadSpec(str(model), threads=1, context=512, sequences=2)


def has_ended(process: BenchProcess) -> bool:
    return process._process._process.poll() is not None


def test_orders_are_carried_out_one_after_another(spec: LoadSpec, tmp_path: Path) -> None:
    told: list[float] = []
    with BenchProcess(tmp_path / "logs") as process:
        bandwidth = process.bandwidth(1, size=1 << 20, repeat=2)
        assert bandwidth is not None
        assert len(bandwidth.rates) == 2
        opened = process.open(spec, told.append)
        assert opened is not None
        assert (opened.context, opened.layout.sequences) == (512, 2)
        ran = process.run(Run(depth=20, prompt=10))
        assert ran is not None
        assert (ran.filled, ran.seconds > 0) == (20, True)
    assert told[-1] == 1.0
    assert has_ended(process)


def test_what_cannot_be_done_is_said_and_the_next_order_is_carried_out(spec: LoadSpec, tmp_path: Path) -> None:
    with BenchProcess(tmp_path) as process:
        with pytest.raises(ModelLoadError, match=r"nothing\.gguf"):
            process.open(LoadSpec(str(tmp_path / "nothing.gguf")))
        process.open(spec)
        with pytest.raises(UsageError, match="do not fit the context of 512"):
            process.run(Run(prompt=600))
        assert process.run(Run(prompt=5)) is not None


def test_once_cancelled_nothing_comes_back_and_the_process_ends(spec: LoadSpec, tmp_path: Path) -> None:
    over = False
    with BenchProcess(tmp_path, cancelled=lambda: over) as process:
        assert process.open(spec) is not None
        over = True
        assert process.run(Run(prompt=500)) is None
    assert has_ended(process)


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals")
def test_a_crash_is_one_line_that_names_the_log(spec: LoadSpec, tmp_path: Path) -> None:
    with BenchProcess(tmp_path) as process:
        process.open(spec)
        os.kill(process._process.pid, signal.SIGKILL)
        with pytest.raises(EngineStopped, match=r"it was killed .*\(log: .*\.log\)"):
            process.run(Run(prompt=5))
    assert has_ended(process)


def test_a_failure_in_between_ends_the_process_too(spec: LoadSpec, tmp_path: Path) -> None:
    process = BenchProcess(tmp_path)
    with pytest.raises(KeyboardInterrupt), process:
        raise KeyboardInterrupt
    assert has_ended(process)


def test_the_log_can_be_written_nowhere(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises((EngineStopped, UsageError), match="LMLAB_HOME"):
        BenchProcess(tmp_path / "logs")
