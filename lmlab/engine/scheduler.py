"""What one step decodes: a list of (candidate, how many of its tokens). No modes: decoding is a candidate with one token left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.engine.request import Running
from lmlab.engine.speculation import RowCost

# Seconds of prefill in one step. Alone, a step is what lies between two progress reports; beside candidates that decode
# it is the longest pause a reader sees, so it is measured against their own pace.
ALONE_S = 0.5
BESIDE_DECODES = 1.0
SMALLEST_CHUNK = 16
SMALLEST_BESIDE = 1
FIRST_CHUNK = 128
FIXED_CHUNK = 512
TILE = 64
"""Tokens that llama.cpp's flash attention on a processor takes at a time; fewer, of a larger chunk too, go one by one."""


@dataclass(slots=True)
class Slice:
    """The next ``count`` tokens of ``running``, and ``drafts`` that may follow them."""

    running: Running
    count: int
    drafts: list[int] = field(default_factory=list)


class Pace:
    """How long steps take on this machine by their rows, learned from those it has made, and so how much to prefill."""

    def __init__(self) -> None:
        self._cost = RowCost()
        self._known = False

    def record(self, plan: Sequence[Slice], seconds: float) -> None:
        """Take in that decoding ``plan`` took ``seconds``."""
        rows = sum(part.count + len(part.drafts) for part in plan)
        if rows:
            self._known = True
            self._cost.record(rows, seconds)

    def chunk(self, *, decoding: int, prefilling: int, capacity: int, watched: bool = True) -> int:
        """Return how many prefill tokens the next step may take, from what is known so far.

        ``decoding`` and ``prefilling`` candidates are in it. Where none of those that decode is ``watched``, only the
        progress of the step counts: large steps cost less a row. Those that wait for their first token count as much as those
        that wait for their next: when they are more, decode steps may take longer by as much.
        """
        if not (decoding and watched):
            fitting = self._fitting(ALONE_S, decoding, capacity) if self._known else FIRST_CHUNK
            return min(capacity, max(SMALLEST_CHUNK, fitting // TILE * TILE or fitting))
        if not self._known:
            return min(capacity, SMALLEST_BESIDE)
        allowed = self._cost(decoding) * (1 + BESIDE_DECODES * max(1.0, prefilling / decoding))
        return min(capacity, max(SMALLEST_BESIDE, self._fitting(allowed, decoding, capacity)))

    def _fitting(self, seconds: float, rows: int, most: int) -> int:
        """Return how many tokens beside ``rows`` a step of ``seconds`` can take, ``most`` at most."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self._cost(rows + middle) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low


class FixedPace(Pace):
    """For runs that must repeat: the shape of a batch does not follow the clock."""

    def chunk(self, *, decoding: int, prefilling: int, capacity: int, watched: bool = True) -> int:
        return min(capacity, FIXED_CHUNK)


def plan_step(running: Sequence[Running], pace: Pace, capacity: int, outputs: int) -> list[Slice]:
    """Return the next step: every decoding candidate's token first, then prefill chunks, oldest first, in what room is left.

    ``running`` is in order of admission. ``capacity`` is the rows of one batch and ``outputs`` how many of them may have
    logits, each at least one a running candidate.
    """
    plan = [Slice(candidate, 1) for candidate in running if candidate.decoding]
    watched = any(part.running.request.watched for part in plan)
    waiting = len(running) - len(plan)
    room = pace.chunk(decoding=len(plan), prefilling=waiting, capacity=capacity - len(plan), watched=watched)
    for candidate in running:
        if room <= 0 or len(plan) >= outputs:
            break
        if not candidate.decoding:
            count = min(room, candidate.remaining)
            plan.append(Slice(candidate, count))
            room -= count
    return plan
