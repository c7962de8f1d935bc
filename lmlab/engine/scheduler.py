"""What one step decodes: a list of (request, how many of its tokens). No modes: decoding is a request with one token left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.engine.request import Running

# Seconds of prefill in one step. Alone, a step is what lies between two progress reports; beside requests that decode
# it is the longest pause a reader sees, so it is measured against their own pace.
ALONE_S = 0.25
BESIDE_DECODES = 2.0
SMALLEST_CHUNK = 16
FIRST_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Slice:
    """The next ``count`` tokens of ``running``."""

    running: Running
    count: int


class Pace:
    """How fast this machine prefills and decodes, learned from the steps it has made."""

    def __init__(self) -> None:
        self._prefill_s: float | None = None
        self._step_s: float | None = None

    def record(self, plan: Sequence[Slice], seconds: float) -> None:
        """Take in that decoding ``plan`` took ``seconds``."""
        prefill = sum(part.count for part in plan if part.count > 1)
        if prefill >= SMALLEST_CHUNK:
            self._prefill_s = _smoothed(self._prefill_s, seconds / prefill)
        elif not prefill:
            self._step_s = _smoothed(self._step_s, seconds)

    def chunk(self, *, decoding: bool, capacity: int) -> int:
        """Return how many prefill tokens the next step may take, from what is known so far."""
        if self._prefill_s is None:
            return min(capacity, FIRST_CHUNK)
        target = BESIDE_DECODES * self._step_s if decoding and self._step_s else ALONE_S
        return min(capacity, max(SMALLEST_CHUNK, int(target / self._prefill_s)))


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.7 * old + 0.3 * new


def plan_step(running: Sequence[Running], pace: Pace, capacity: int) -> list[Slice]:
    """Return the next step: every decoding request's token first, then prefill chunks, oldest first, in what room is left.

    ``running`` is in order of admission; ``capacity`` is the rows of one batch, at least one a running request.
    """
    plan = [Slice(request, 1) for request in running if request.decoding]
    room = pace.chunk(decoding=bool(plan), capacity=capacity - len(plan))
    for request in running:
        if room <= 0:
            break
        if not request.decoding:
            count = min(room, request.remaining)
            plan.append(Slice(request, count))
            room -= count
    return plan
