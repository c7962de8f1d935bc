"""One line of the table: what was measured against what, in several turns of one run. Knows no side and no model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


class NotMeasured(SystemExit):
    """A row, or a side of it, could not be measured; the message says why. The rows after it can be all the same."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row measures with. ``turns`` None leaves their number to the row; ``scale`` multiplies its sizes.

    ``in_flight`` requests are open at llama-server at once where there are many.
    """

    ref: str
    path: Path
    tools: Path
    turns: int | None = None
    scale: float = 1.0
    in_flight: int = 8

    def size(self, full: int, least: int = 1) -> int:
        return max(least, round(full * self.scale))


@dataclass(frozen=True, slots=True)
class Row:
    """``values``: one a turn, each a ratio (``x``) or an amount (another ``unit``); their median is the result."""

    work: str
    model: str
    against: str
    goal: float
    values: tuple[float, ...]
    detail: str
    unit: str = "x"
    at_most: bool = False

    @property
    def result(self) -> float:
        return statistics.median(self.values)

    @property
    def reached(self) -> bool:
        return self.result <= self.goal if self.at_most else self.result >= self.goal

    @property
    def goal_text(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.number(self.goal)}"

    @property
    def spread(self) -> str:
        return f"{self.number(min(self.values))} to {self.number(max(self.values))}, n {len(self.values)}"

    def number(self, value: float) -> str:
        if self.unit != "x":
            return f"{value:.0f} {self.unit}"
        return f"{value:.3f}" if value < 10 else f"{value:.1f}"

    def line(self) -> str:
        verdict = "reached" if self.reached else "MISSED"
        return (
            f"{self.work}, {self.model}, against {self.against}: {self.number(self.result)} ({self.spread}), "
            f"goal {self.goal_text}: {verdict}; {self.detail}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "result": self.result, "reached": self.reached}


def markdown(rows: Iterable[Row]) -> str:
    """Return ``rows`` as a Markdown table."""
    lines = ["| work | model | against | goal | result | turns | detail |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        result = row.number(row.result) + ("" if row.reached else ", missed")
        cells = (row.work, row.model, row.against, row.goal_text, result, row.spread, row.detail)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def alternate(turns: int, *sides: Callable[[int], float]) -> list[tuple[float, ...]]:
    """Let ``sides`` measure in turn, another one first each time; return each turn's figures in the order of ``sides``."""
    figures = []
    for turn in range(turns):
        measured: dict[int, float] = {}
        for place in range(len(sides)):
            which = (turn + place) % len(sides)
            measured[which] = sides[which](turn)
        figures.append(tuple(measured[which] for which in range(len(sides))))
    return figures


def ratios(figures: Sequence[tuple[float, ...]], above: int, below: int) -> tuple[float, ...]:
    return tuple(turn[above] / turn[below] for turn in figures)


def middle(figures: Sequence[tuple[float, ...]], which: int) -> float:
    return statistics.median(turn[which] for turn in figures)


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
