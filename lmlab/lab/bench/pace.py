"""How long a bench goes on, and what there is still time for. Knows steps by what they read and write, not what they measure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmlab.lab.bench.amounts import Key, Step


@dataclass(frozen=True, slots=True)
class _Turn:
    subject: int
    step: Key


class Pace:
    """``steps`` of each subject are done ``turns`` times. A step takes as long as it did before; one that was never done,
    as its tokens at the speed that was measured first, or as the same step of another subject. ``begun`` None is now."""

    def __init__(
        self,
        steps: Sequence[Sequence[Step]],
        turns: int,
        *,
        most_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        begun: float | None = None,
    ) -> None:
        self._steps = steps
        self._most_s = most_s
        self._clock = clock
        self._begin = clock() if begun is None else begun
        self._left = Counter({_Turn(number, step.key): turns for number, each in enumerate(steps) for step in each})
        self._took: dict[_Turn, float] = {}
        self._rates: dict[tuple[int, str], float] = {}

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._begin

    @property
    def over(self) -> bool:
        """Whether there is no time left at all."""
        return self._most_s is not None and self.elapsed_s >= self._most_s

    def allows(self, subject: int, step: Step) -> bool:
        """Whether there is time left for ``step``, as far as can be told."""
        if self._most_s is None:
            return True
        return not self.over and self.elapsed_s + (self._guess(subject, step) or 0.0) <= self._most_s

    def done(self, subject: int, step: Step, seconds: float, rate: float | None) -> None:
        """``step`` took ``seconds`` in all, at ``rate`` tokens per second in the time that was measured."""
        turn = _Turn(subject, step.key)
        self._left[turn] -= 1
        self._took[turn] = seconds
        if rate is not None:
            self._rates.setdefault((subject, step.key.measure), rate)

    def give_up(self, subject: int, step: Step) -> None:
        """``step`` is never done again."""
        self._left[_Turn(subject, step.key)] = 0

    def skipped(self, subject: int, step: Step) -> None:
        self._left[_Turn(subject, step.key)] -= 1

    def left_s(self) -> float | None:
        """Return about how many seconds are left; None while that cannot be told."""
        total = 0.0
        for number, each in enumerate(self._steps):
            for step in each:
                count = self._left[_Turn(number, step.key)]
                guess = self._guess(number, step) if count else 0.0
                if guess is None:
                    return None
                total += count * guess
        return total if self._most_s is None else min(total, max(0.0, self._most_s - self.elapsed_s))

    def _guess(self, subject: int, step: Step) -> float | None:
        if (took := self._took.get(_Turn(subject, step.key))) is not None:
            return took
        reading, writing = self._rates.get((subject, "prefill")), self._rates.get((subject, "decode"))
        if reading and writing:
            return step.reads / reading + step.writes / writing
        others = [took for turn, took in self._took.items() if turn.step == step.key]
        return max(others) if others else None
