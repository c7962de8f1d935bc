"""What a worker holds in memory once it has nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from local_harness import Bench, wait_until

from lmlab.backends import CandidateEnded, Event
from lmlab.backends.local import LocalHandle
from lmlab.sampling import SamplingParams


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to give memory back")
def test_memory_of_candidates_is_given_back_after_work(open_model: Callable[..., Bench], gemma3: Path) -> None:
    """Each of eight chains that are given 262,144 tokens keeps an array of them, 3 MB, which malloc would hold on to."""
    bench = open_model(gemma3)
    hot = SamplingParams(temperature=1.0, top_k=500, seed=1, max_tokens=4)
    at_work: list[int] = []

    def held() -> int:
        return int(psutil.Process(bench.pid).memory_info().rss)

    def measure(handle: LocalHandle, event: Event) -> None:
        if not at_work and isinstance(event, CandidateEnded):
            at_work.append(held())

    bench.ask("The sea", hot, options={"candidates": 8}, on_event=measure).finished()
    wait_until(lambda: held() < at_work[0] - 15e6)
