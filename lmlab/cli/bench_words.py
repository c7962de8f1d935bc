"""Figures of a bench in words: what each is of, and its amount. Knows nothing of tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab.models import size_text

if TYPE_CHECKING:
    from lmlab.lab.bench.amounts import Key, Unit
    from lmlab.lab.bench.report import Figure
    from lmlab.lab.bench.spread import Spread

NONE = "–"

_NAMES = {
    "load": "until it is loaded",
    "first_token": "first token",
    "first_token_again": "first token, next question",
    "first_token_from_disk": "first token, after a restart",
    "reply": "reply, after its first token",
    "memory": "memory held",
    "memory_peak": "memory at its peak",
}


def name(key: Key) -> str:
    """Return what a figure is of."""
    if key.measure == "decode_together":
        return f"decode, {key.sequences} at once"
    if key.measure in ("prefill", "decode"):
        return f"{key.measure}, depth {key.depth:,}"
    return _NAMES[key.measure]


def section(key: Key) -> str:
    """Return the part of the table that a figure belongs to."""
    if key.measure == "decode_together":
        return f"several sequences of {key.depth:,} tokens"
    return "the model alone" if key.measure in ("prefill", "decode") else "the whole program"


def amount(value: float, unit: Unit) -> str:
    """Return ``value`` with no more digits than say something."""
    if unit == "bytes":
        return size_text(round(value))
    if unit == "s":
        return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def with_unit(value: float, unit: Unit) -> str:
    return amount(value, unit) + (" tok/s" if unit == "tokens/s" else "")


def span(spread: Spread, unit: Unit) -> str:
    """Return the least and the most; nothing of a single run."""
    if len(spread.runs) < 2:
        return NONE
    low, high = amount(spread.low, unit), amount(spread.high, unit)
    number, _, of = low.partition(" ")
    # The unit once, where it is the same.
    return f"{number if of and high.endswith(f' {of}') else low}–{high}"


def about(figure: Figure) -> str:
    """Return the median, and how far from it any run was, in percent; rates without their unit."""
    spread = figure.spread
    said = amount(spread.median, figure.unit)
    if len(spread.runs) < 2 or not spread.median:
        return said
    furthest = max(spread.high - spread.median, spread.median - spread.low) / spread.median
    return f"{said} ±{furthest:.0%}"
