"""What one step decodes: a list of (candidate, how many of its tokens). No modes: decoding is a candidate with one token left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.engine.request import Running

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
    """How fast this machine prefills and decodes, learned from the steps it has made."""

    def __init__(self) -> None:
        self._prefill_s: float | None = None
        self._step_s: float | None = None

    def record(self, plan: Sequence[Slice], seconds: float) -> None:
        """Take in that decoding ``plan`` took ``seconds``."""
        prefill = sum(part.count for part in plan if part.count > 1)
        if not prefill:
            self._step_s = _smoothed(self._step_s, seconds)
        elif any(part.running.decoding for part in plan):
            # What the decode rows would have taken without it is not the prefill's; but steps vary, and it is not free.
            own = max(seconds - (self._step_s or 0.0), seconds / 10)
            self._prefill_s = _smoothed(self._prefill_s, own / prefill)
        elif prefill >= SMALLEST_CHUNK:
            self._prefill_s = _smoothed(self._prefill_s, seconds / prefill)

    def chunk(self, *, decoding: bool, capacity: int) -> int:
        """Return how many prefill tokens the next step may take, from what is known so far."""
        if not decoding:
            alone = FIRST_CHUNK if self._prefill_s is None else int(ALONE_S / self._prefill_s)
            return min(capacity, max(SMALLEST_CHUNK, alone // TILE * TILE or alone))
        if self._prefill_s is None or self._step_s is None:
            return min(capacity, SMALLEST_BESIDE)
        return min(capacity, max(SMALLEST_BESIDE, int(BESIDE_DECODES * self._step_s / self._prefill_s)))


class FixedPace(Pace):
    """For runs that must repeat: the shape of a batch does not follow the clock."""

    def chunk(self, *, decoding: bool, capacity: int) -> int:
        return min(capacity, FIXED_CHUNK)


def _smoothed(old: float | None, new: float) -> float:
    return new if old is None else 0.7 * old + 0.3 * new


def plan_step(running: Sequence[Running], pace: Pace, capacity: int, outputs: int) -> list[Slice]:
    """Return the next step: every decoding candidate's token first, then prefill chunks, oldest first, in what room is left.

    ``running`` is in order of admission. ``capacity`` is the rows of one batch and ``outputs`` how many of them may have
    logits, each at least one a running candidate.
    """
    plan = [Slice(candidate, 1) for candidate in running if candidate.decoding]
    room = pace.chunk(decoding=bool(plan), capacity=capacity - len(plan))
    for candidate in running:
        if room <= 0 or len(plan) >= outputs:
            break
        if not candidate.decoding:
            count = min(room, candidate.remaining)
            plan.append(Slice(candidate, count))
            room -= count
    return plan
