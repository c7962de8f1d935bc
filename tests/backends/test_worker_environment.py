"""What a worker's environment has that its parent's has not, and what it is good for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from local_harness import GREEDY, Bench
from tiny_models import write_llama

from lmlab.backends.process import worker_environment


@pytest.mark.parametrize(
    ("inherited", "tunables"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": ""}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, "glibc.malloc.check=3:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=2:a.b.c=1"}, "glibc.malloc.hugetlb=2:a.b.c=1"),
    ],
)
def test_huge_pages_are_asked_for_unless_the_person_said_otherwise(inherited: dict[str, str], tunables: str) -> None:
    environment = worker_environment({"HOME": "/home/me", **inherited}, "linux")
    assert environment == {"HOME": "/home/me", "GLIBC_TUNABLES": tunables}
    for platform in ("darwin", "win32"):
        assert worker_environment(inherited, platform) == inherited


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's, and /proc shows what a process was started with")
def test_a_worker_is_started_so_and_its_parent_stays_as_it_was(open_model: Callable[..., Bench], tiny: Path) -> None:
    before = os.environ.get("GLIBC_TUNABLES")
    bench = open_model(tiny)
    bench.ask("hello", max_tokens=1).finished()
    assert b"glibc.malloc.hugetlb=" in Path(f"/proc/{bench.pid}/environ").read_bytes()
    assert os.environ.get("GLIBC_TUNABLES") == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the weights are read from the file as needed")
def test_a_model_file_cut_short_while_it_is_loaded_does_no_harm(
    open_model: Callable[..., Bench], tmp_path: Path
) -> None:
    path = write_llama(tmp_path / "model.gguf")
    bench = open_model(path)
    before = bench.ask("hello", GREEDY).finished()
    os.truncate(path, 100)
    after = bench.ask("hello", GREEDY).finished()
    assert after.tokens == before.tokens
