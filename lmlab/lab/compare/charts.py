"""Charts of a report as inline SVG, coloured by the page's style. Every chart says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from lmlab.lab.compare.measures import Duel, Mean, Measure
from lmlab.lab.compare.tables import difference, interval, mean_range, number, pair_name, percent, share_interval
from lmlab.terminal_text import visible

_WIDTH = 640
_BAR = 24
_LEAST_FOR_TEXT = 30
_BINS = 21


def key(place: int | str, text: str) -> str:
    """Return a patch of a variant's colour (``t``: of ties) with what it stands for."""
    return f'<span><i class="key k{place}"></i>{escape(visible(text))}</span>'


def duel_chart(duel: Duel, labels: Sequence[str]) -> str:
    """Return prompts won, tied and lost as one bar, and below it the share won with its interval."""
    rate = duel.rate
    total = rate.wins + rate.ties + rate.losses
    if not total:
        return ""
    said = f"{pair_name(duel, labels)}: won {rate.wins}, tied {rate.ties}, lost {rate.losses}"
    parts = ((rate.wins, f"f{duel.first}"), (rate.ties, "ft"), (rate.losses, f"f{duel.second}"))
    shapes, left = [], 0.0
    for count, colour in parts:
        width = _WIDTH * count / total
        if count:
            shapes.append(f'<rect class="{colour}" x="{left:.1f}" y="2" width="{width:.1f}" height="{_BAR}"/>')
            if width >= _LEAST_FOR_TEXT:
                shapes.append(_text(left + width / 2, 2 + _BAR / 2 + 5, f"{count:,}", "" if colour == "ft" else "on"))
        left += width
    height = _BAR + 8
    if rate.share is not None and rate.low is not None and rate.high is not None:
        said += f"; share won {percent(rate.share)}, 95 % interval {share_interval(rate.low, rate.high)}"
        shapes += _axis(height + 18, 0, 1, lambda value: f"{100 * value:.0f} %", 4)
        shapes.append(_vertical("half", _x(0.5, 0, 1), height + 4, height + 18))
        shapes += _whisker(height + 10, rate.share, rate.low, rate.high, 0, 1)
        height += 38
    caption = key(duel.first, f"{labels[duel.first]} better") + key("t", "tied")
    caption += key(duel.second, f"{labels[duel.second]} better")
    if rate.share is not None:
        caption += "<br>below: the share of decided prompts that the first won, with its 95 % interval"
    return _figure(shapes, height, said, caption)


def mean_chart(measure: Measure, labels: Sequence[str]) -> str:
    """Return each variant's mean with its interval on one axis."""
    if not measure.means:
        return ""
    low, high = mean_range(measure.means)
    low, high = (0.0, 1.0) if 0 <= low <= high <= 1 else _padded(low, high)
    shapes: list[str] = []
    y = 14.0
    for mean in measure.means:
        shapes += _mean(mean, y, low, high)
        y += 22
    shapes += _axis(y + 2, low, high, lambda value: number(value, measure), 4)
    said = "; ".join(
        f"{labels[mean.variant]}: {number(mean.mean, measure)}, 95 % interval {interval(mean.low, mean.high, measure)}"
        for mean in measure.means
    )
    keys = "".join(key(mean.variant, labels[mean.variant]) for mean in measure.means)
    return _figure(shapes, y + 22, said, f"{keys}<br>mean with its 95 % interval")


def difference_chart(duel: Duel, measure: Measure, labels: Sequence[str]) -> str:
    """Return how the prompts' differences are spread; nothing where they take fewer than four values."""
    values = list(duel.differences.values())
    if duel.mean is None or len(set(values)) < 4:
        return ""
    reach = max(map(abs, values)) or 1.0
    counts = [0] * _BINS
    for value in values:
        counts[min(_BINS - 1, int((value + reach) / (2 * reach) * _BINS))] += 1
    tall, width = 90.0, _WIDTH / _BINS
    shapes = []
    for place, count in enumerate(counts):
        middle = place - _BINS // 2
        colour = "ft" if not middle else f"f{duel.first if middle > 0 else duel.second}"
        height = tall * count / max(counts)
        shapes.append(
            f'<rect class="{colour}" x="{place * width + 1:.1f}" y="{tall - height + 2:.1f}" width="{width - 2:.1f}" '
            f'height="{height:.1f}"/>'
        )
    shapes += _axis(tall + 4, -reach, reach, lambda value: difference(value, measure), 4)
    said = f"{pair_name(duel, labels)}: differences of {len(values)} prompts from {difference(min(values), measure)} "
    said += f"to {difference(max(values), measure)}"
    return _figure(shapes, tall + 24, said, f"differences of the prompts, {escape(visible(pair_name(duel, labels)))}")


def _mean(mean: Mean, y: float, low: float, high: float) -> Iterator[str]:
    if mean.low is not None and mean.high is not None:
        begin, end = _x(mean.low, low, high), _x(mean.high, low, high)
        yield f'<line class="s{mean.variant}" stroke-width="3" x1="{begin:.1f}" y1="{y}" x2="{end:.1f}" y2="{y}"/>'
    yield f'<circle class="f{mean.variant}" cx="{_x(mean.mean, low, high):.1f}" cy="{y}" r="6"/>'


def _whisker(y: float, share: float, begin: float, end: float, low: float, high: float) -> Iterator[str]:
    left, right = _x(begin, low, high), _x(end, low, high)
    yield f'<line class="whisker" x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}"/>'
    yield f'<circle class="dot" cx="{_x(share, low, high):.1f}" cy="{y}" r="5"/>'


def _axis(y: float, low: float, high: float, told: Callable[[float], str], steps: int) -> Iterator[str]:
    yield f'<line class="axis" x1="8" y1="{y}" x2="{_WIDTH - 8}" y2="{y}"/>'
    for step in range(steps + 1):
        value = low + (high - low) * step / steps
        x = _x(value, low, high)
        yield _vertical("axis", x, y, y + 4)
        anchor = "start" if not step else "end" if step == steps else "middle"
        at = 0 if not step else _WIDTH if step == steps else x
        yield _text(at, y + 16, told(value), "tick", anchor)


def _x(value: float, low: float, high: float) -> float:
    return 8 + (_WIDTH - 16) * (value - low) / (high - low)


def _padded(low: float, high: float) -> tuple[float, float]:
    """Return a range somewhat wider than from ``low`` to ``high``, never empty."""
    spare = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return (low - spare, high + spare) if math.isfinite(spare) else (low, high)


def _vertical(kind: str, x: float, top: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _figure(shapes: Sequence[str], height: float, said: str, caption: str) -> str:
    told = escape(visible(said))
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{told}"><title>{told}</title>'
        f"{''.join(shapes)}</svg><figcaption>{caption}</figcaption></figure>"
    )
