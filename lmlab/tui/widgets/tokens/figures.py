"""What the numbers of a distribution look like: percentages of one width, bars, stages. Knows nothing of widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmlab.backends import Alternative, Distribution

_EIGHTHS = " ▏▎▍▌▋▊▉"
_SCALES = (0.05, 0.1, 0.2, 0.5)

PERCENT_CELLS = 5


def percent(share: float) -> str:
    """Return a probability in percent, five cells wide; what is not 0 does not look like it."""
    hundredths = share * 100
    if hundredths >= 9.995:
        return f"{hundredths:5.1f}"
    if hundredths >= 0.005 or share == 0:
        return f"{hundredths:5.2f}"
    return "<0.01"


def scale(distribution: Distribution, stage: int) -> float:
    """Return the probability that a full bar stands for: the least round one that every bar fits in."""
    most = max(max(one.probabilities[0], one.probabilities[stage]) for one in distribution.alternatives)
    return next((round_one for round_one in _SCALES if most <= round_one), 1.0)


def bar_cells(now: float, raw: float, full: float, width: int) -> tuple[str, str]:
    """Return what a probability fills of a bar, and beyond it what it was before the sampler, where that was more."""
    eighths = round(min(1.0, now / full) * width * 8)
    if now > 0 and eighths == 0:
        eighths = 1
    whole, rest = divmod(eighths, 8)
    filled = "█" * whole + (_EIGHTHS[rest] if rest else "")
    lost = max(0, round(min(1.0, raw / full) * width) - len(filled))
    return filled, "░" * lost


def stage_index(distribution: Distribution, name: str | None) -> int:
    """Return the place of the stage ``name``; of one that is off, or None, the last, from which is drawn."""
    names = [stage.name for stage in distribution.stages]
    return next((index for index, known in enumerate(names) if known == name), len(names) - 1)


def first_alternative(alternatives: Sequence[Alternative], drawn: int | None) -> int:
    """Return the place of the likeliest token that was not drawn."""
    return next((index for index, one in enumerate(alternatives) if one.token != drawn), 0)


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows of a list are seen: ``count`` from ``start`` on, and of one that is out of sight, ``pinned``, below."""

    start: int
    count: int
    pinned: int | None = None

    @property
    def rows(self) -> tuple[int, ...]:
        seen = tuple(range(self.start, self.start + self.count))
        return seen if self.pinned is None else (*seen, self.pinned)


def window(total: int, room: int, cursor: int | None, pin: int | None, start: int) -> Window:
    """Return what is seen of ``total`` rows in ``room`` lines: ``cursor``, and ``pin`` if it can be; near ``start``."""
    room = max(1, room)

    def around(count: int) -> int:
        first = min(max(0, start), max(0, total - count))
        if cursor is not None:
            first = min(max(first, cursor - count + 1), cursor)
        return first

    first = around(room)
    if pin is None or first <= pin < first + room or room < 3:
        return Window(first, min(room, total))
    first = around(room - 1)
    if first <= pin < first + room - 1:
        return Window(first, room - 1)
    return Window(first, room - 1, pin)
