"""What one step decodes: a list of (candidate, how many of its tokens). No modes: decoding is a candidate with one token left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.engine.request import Running
from lmlab.engine.speculation import RowCost

# Seconds of prefill in one step. Alone, a step is what lies between two progress reports, and what a newcomer waits for;
# beside candidates that decode it is the longest pause a reader sees, so it is measured against their own pace.
ALONE_S = 0.5
UNWATCHED_S = 2.0
BESIDE_DECODES = 1.0
SMALLEST_CHUNK = 16
SMALLEST_BESIDE = 1
FIRST_CHUNK = 128
FIXED_CHUNK = 512
TILE = 64
"""Tokens that llama.cpp's flash attention on a processor takes at a time; fewer, of a larger chunk too, go one by one."""


@dataclass(slots=True)
class Slice:
    """The next ``count`` tokens of ``running``, and ``drafts`` that may follow them. ``twins`` decode the same one token
    after the same others, and draw from its row."""

    running: Running
    count: int
    drafts: list[int] = field(default_factory=list)
    twins: list[Running] = field(default_factory=list)


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

    def chunk(self, *, decoding: int, prefilling: int, capacity: int, read: bool = True, watched: bool = True) -> int:
        """Return how many prefill tokens the next step may take, from what is known so far.

        ``decoding`` and ``prefilling`` candidates are in it. ``read``: somebody reads along with one that decodes. Without,
        only progress counts, and where nobody has ``watched`` any of them, little of that: large steps cost less a row. Those
        that wait for their first token count as much as those that wait for their next: when they are more, decode steps may
        take longer by as much.
        """
        if not (decoding and read):
            seconds = ALONE_S if watched else UNWATCHED_S
            fitting = self._fitting(seconds, decoding, capacity) if self._known else FIRST_CHUNK
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

    def chunk(self, *, decoding: int, prefilling: int, capacity: int, read: bool = True, watched: bool = True) -> int:
        return min(capacity, FIXED_CHUNK)


def plan_step(
    running: Sequence[Running], pace: Pace, capacity: int, outputs: int, *, together: bool = False
) -> list[Slice]:
    """Return the next step: every decoding candidate's token first, then prefill chunks, oldest first, in what room is left.

    ``running`` is in order of admission. ``capacity`` is the rows of one batch and ``outputs`` how many of them may have
    logits, each at least one a running candidate. ``together``: one row serves all whose texts are the same so far.
    """
    decoding = [candidate for candidate in running if candidate.decoding]
    plan = _alike(decoding) if together else [Slice(candidate, 1) for candidate in decoding]
    room = pace.chunk(
        decoding=len(plan),
        prefilling=len(running) - len(decoding),
        capacity=capacity - len(plan),
        read=any(candidate.request.watched for candidate in decoding),
        watched=any(candidate.request.watched for candidate in running),
    )
    for candidate in running:
        if room <= 0 or len(plan) >= outputs:
            break
        if not candidate.decoding:
            count = min(room, candidate.remaining)
            plan.append(Slice(candidate, count))
            room -= count
    return plan


def _alike(decoding: Sequence[Running]) -> list[Slice]:
    """Return one slice for all of ``decoding`` that have the same tokens, and one for each that has its own."""
    plan: list[Slice] = []
    seen: dict[tuple[int, int], list[Slice]] = {}
    for candidate in decoding:
        tokens = candidate.tokens
        # Whole texts are compared only where their lengths and last tokens say that they may be the same.
        near = seen.setdefault((len(tokens), tokens[-1]), [])
        part = next((part for part in near if part.running.tokens == tokens), None)
        if part is None:
            part = Slice(candidate, 1)
            plan.append(part)
            near.append(part)
        else:
            part.twins.append(candidate)
    return plan
