"""When one way to load a model counts as faster than another: the decision alone, from what was measured.

Two are measured in turn, a round after the other, so that a slow minute of the machine falls on both. What is faster
must be so in every one of ROUNDS rounds, and by LEAST_GAIN in the middle one. Where both are equally fast, each round
is the toss of a coin, so noise passes once in 2 ** ROUNDS times at most. Rounds that led to a candidate being tried do
not count: the best of several was lucky, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias, TypeVar

ROUNDS = 6
LEAST_GAIN = 0.02
"""A fiftieth: below it nobody would notice, and another day's machine may well say otherwise."""

# Of the first look at several: what lies so far behind the best is not looked at twice.
_HOPELESS = 0.85

Objective: TypeAlias = Literal["mixed", "decode", "prefill"]
_READ, _WRITTEN = 512, 128
_Arm = TypeVar("_Arm")


class Verdict(Enum):
    OPEN = "more rounds are needed"
    FASTER = "faster"
    NOT_FASTER = "not faster"


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second read and written."""

    prefill: float
    decode: float

    def score(self, objective: Objective) -> float:
        """Return what is to be large. ``mixed``: tokens per second of a prompt of 512 tokens and a reply of 128."""
        match objective:
            case "prefill":
                return self.prefill
            case "decode":
                return self.decode
            case "mixed":
                return (_READ + _WRITTEN) / (_READ / self.prefill + _WRITTEN / self.decode)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much faster, round by round: 0.1 is a tenth. ``median``, from ``low`` to ``high``."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        return min(self.rounds)

    @property
    def high(self) -> float:
        return max(self.rounds)


def verdict(gains: Sequence[float]) -> Verdict:
    """Return what ``gains``, one a round in turn, say of a candidate."""
    if any(gain <= 0 for gain in gains):
        # It cannot be faster in all rounds any more.
        return Verdict.NOT_FASTER
    if len(gains) < ROUNDS:
        return Verdict.OPEN
    return Verdict.FASTER if statistics.median(gains) >= LEAST_GAIN else Verdict.NOT_FASTER


def order(arms: Sequence[_Arm], round_number: int) -> list[_Arm]:
    """Return ``arms`` as they take their turns in a round: forwards, backwards, forwards, so that none is always first."""
    return list(arms) if round_number % 2 == 0 else list(reversed(arms))


def promising(scores: Mapping[_Arm, float]) -> list[_Arm]:
    """Return those of a first look that are worth a second one."""
    best = max(scores.values())
    return [arm for arm in scores if scores[arm] >= _HOPELESS * best]


def best_challenger(incumbent: Sequence[float], challengers: Mapping[_Arm, Sequence[float]]) -> _Arm | None:
    """Return which of ``challengers`` to try against the incumbent, by their scores in the same rounds; None when none
    was faster. It is no winner yet.
    """
    ratios = {
        arm: statistics.median(ours / theirs for ours, theirs in zip(scores, incumbent, strict=True))
        for arm, scores in challengers.items()
    }
    arm = max(ratios, key=lambda one: ratios[one], default=None)
    return arm if arm is not None and ratios[arm] > 1 else None
