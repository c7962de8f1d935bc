"""llama.cpp's log and its last words, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import llama_cpp
import pytest
import tiny_models
from loaded_models import library

ABORT = """
import sys, llama_cpp
from lmlab.llama import Context, Library, Model
library = Library(lambda level, line: None, lambda message: print("last words:", message, flush=True))
model = Model(sys.argv[1], gpu_layers=0, progress=lambda fraction: None)
context = Context(model, context=256, sequences=1, idle=0, batch=16, threads=1)
llama_cpp.llama_sampler_sample(llama_cpp.llama_sampler_init_greedy(), context.pointer, 7)
"""
LOG = """
import sys
from lmlab.llama import Library, Model
library = Library(lambda level, line: print(level, repr(line)), print)
Model(sys.argv[1], gpu_layers=0, progress=lambda fraction: None)
"""


def run(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


def test_a_failed_assertion_is_told_before_the_process_ends(path: Path) -> None:
    ended = run(ABORT, path)
    assert ended.returncode != 0
    assert "last words:" in ended.stdout
    assert "GGML_ASSERT" in ended.stdout


def test_the_log_comes_in_whole_lines_with_their_level(path: Path) -> None:
    ended = run(LOG, path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "", "nothing goes round the log"
    lines = [line.split(" ", 1) for line in ended.stdout.splitlines()]
    assert {level for level, _ in lines} <= {"debug", "info", "warning", "error"}
    assert not any("\\n" in text for _, text in lines)
    assert any("general.architecture" in text for _, text in lines)


def test_it_names_its_build() -> None:
    assert library().version == llama_cpp.__version__
    assert "CPU" in library().system_info
    assert library().gpu_offload is bool(llama_cpp.llama_supports_gpu_offload())
