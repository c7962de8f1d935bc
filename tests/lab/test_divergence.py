"""Measuring in a process of its own: what comes back, and every way it can end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import tiny_models

from lmlab.backends import LoadSpec
from lmlab.backends import process as backend
from lmlab.backends.process import WorkerProcess
from lmlab.errors import EngineStopped, ModelLoadError, UsageError
from lmlab.lab.divergence import Divergence, measure
from lmlab.lab.statistics import Interval, wilson_of_error
from lmlab.worker.divergence.messages import Estimate, Figures, Measuring, ModelLoading

LONG = "hello world, and again; " * 30_000
SHORT = "hello world, and again; " * 500

FIGURES = Figures(
    windows=12,
    planned=40,
    window=512,
    tokens=20492,
    left_over=12,
    scored=3060,
    kl=Estimate(0.012345, 0.00056),
    kl_median=0.004,
    kl_p99=0.11,
    kl_max=1.5,
    agreement=Estimate(0.915, 0.02),
    perplexity_first=Estimate(12.34, 0.5),
    perplexity_second=Estimate(12.6, 0.51),
    perplexity_ratio=Estimate(1.021, None),
    probability_rms=Estimate(0.034, 0.001),
)


@pytest.fixture
def specs(tmp_path: Path) -> tuple[LoadSpec, LoadSpec]:
    paths = [tiny_models.write_llama(tmp_path / f"{seed}.gguf", seed=seed) for seed in (1, 2)]
    return LoadSpec(str(paths[0]), threads=1), LoadSpec(str(paths[1]), threads=1)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[WorkerProcess]]:
    """The processes that were started; all must have ended when the test does."""
    started: list[WorkerProcess] = []

    def start(folder: Path, *, program: str) -> WorkerProcess:
        started.append(WorkerProcess(folder, program=program))
        return started[-1]

    monkeypatch.setattr(backend, "WorkerProcess", start)
    yield started
    assert [process for process in started if process._process.poll() is None] == []


def ignored(event: object) -> None:
    """For tests of what comes back."""


def test_two_models_are_measured(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    events: list[object] = []
    found = measure(*specs, SHORT, events.append, log_folder=tmp_path / "logs")
    assert found is not None
    assert found.complete
    assert (found.first, found.second) == (specs[0].path, specs[1].path)
    figures = found.figures
    assert figures.kl.value > 0.1
    share = figures.agreement
    assert share.error is not None
    assert found.agreement == wilson_of_error(share.value, share.error, figures.windows, figures.scored)
    assert {event.path for event in events if isinstance(event, ModelLoading)} == {specs[0].path, specs[1].path}
    assert len(processes) == 1


def test_what_cannot_be_compared_is_said_in_one_line(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    other = LoadSpec(str(tiny_models.write_llama(tmp_path / "spm.gguf", tokenizer="spm")), threads=1)
    with pytest.raises(UsageError, match=r"1\.gguf and .*spm\.gguf cannot be compared token by token: the first has"):
        measure(specs[0], other, SHORT, ignored, log_folder=tmp_path)
    with pytest.raises(ModelLoadError, match=r"nothing\.gguf"):
        measure(specs[0], LoadSpec(str(tmp_path / "nothing.gguf")), SHORT, ignored, log_folder=tmp_path)
    with pytest.raises(UsageError, match="too few"):
        measure(*specs, "hello", ignored, log_folder=tmp_path)


def test_cancelled_it_gives_what_there_is(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    told: list[Figures] = []

    def take(event: ModelLoading | Measuring) -> None:
        if isinstance(event, Measuring):
            told.append(event.figures)

    found = measure(*specs, LONG, take, log_folder=tmp_path, cancelled=lambda: bool(told))
    assert found is not None
    assert found.figures == told[-1]
    assert not found.complete


def test_cancelled_before_there_is_anything_it_gives_nothing(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    assert measure(*specs, LONG, ignored, log_folder=tmp_path, cancelled=lambda: True) is None


def test_a_listener_that_fails_ends_the_process_too(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    def interrupt(event: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(*specs, LONG, interrupt, log_folder=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix signals")
def test_a_crash_is_one_line_that_names_the_log(
    specs: tuple[LoadSpec, LoadSpec], tmp_path: Path, processes: list[WorkerProcess]
) -> None:
    def kill(event: object) -> None:
        os.kill(processes[0].pid, signal.SIGKILL)

    with pytest.raises(EngineStopped, match=r"it was killed .*\(log: .*\.log\)") as caught:
        measure(*specs, LONG, kill, log_folder=tmp_path)
    assert "\n" not in str(caught.value)


def test_the_log_can_be_written_nowhere(specs: tuple[LoadSpec, LoadSpec], tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises((EngineStopped, UsageError), match="LMLAB_HOME"):
        measure(*specs, SHORT, ignored, log_folder=tmp_path / "logs")


class TestWords:
    def test_they_have_the_numbers_with_their_errors(self) -> None:
        found = Divergence("a.gguf", "b.gguf", FIGURES, wilson_of_error(0.915, 0.02, 12, 3060))
        assert found.words() == (
            "mean KL divergence 0.01235 ± 0.00056 nats (median 0.004, 99% below 0.11, most 1.5)",
            "same most likely token 91.5% (95% interval 86.7% to 94.7%)",
            "perplexity 12.34 ± 0.5 and 12.6 ± 0.51, ratio 1.021",
            "probability of the text's own token changed by 3.40% (root mean square)",
            "3,060 of 20,492 tokens scored: the second half of each window of 512; the last 12 fill no window",
            "cancelled after 12 of 40 windows",
        )

    def test_of_a_whole_text_nothing_is_said_to_be_missing(self) -> None:
        figures = replace(FIGURES, windows=40, left_over=0)
        assert Divergence("a", "b", figures, Interval(0.9, 0.8, 1.0)).words()[-1] == (
            "3,060 of 20,492 tokens scored: the second half of each window of 512"
        )

    def test_without_errors_it_says_why(self) -> None:
        bare = Estimate(0.5, None)
        figures = replace(FIGURES, windows=3, planned=3, kl=bare, agreement=bare, perplexity_second=bare)
        words = Divergence("a", "b", figures, None).words()
        assert words[:2] == (
            "mean KL divergence 0.5 nats (median 0.004, 99% below 0.11, most 1.5)",
            "same most likely token 50.0%",
        )
        assert words[-1] == "no errors are named of so few windows: give a longer text"

    def test_it_can_be_written_as_json(self) -> None:
        written = asdict(Divergence("a", "b", FIGURES, Interval(0.9, 0.8, 1.0)))
        assert written["figures"]["kl"] == {"value": 0.012345, "error": 0.00056}
        assert written["agreement"]["low"] == 0.8
