"""What ``lmlab models quantize`` prints: the model before and after, in figures. Knows nothing of how they came about."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.lab.bench import Spread
    from lmlab.lab.quantized_cost import QuantizedCost
    from lmlab.lab.quantizing import Quantized

Row: TypeAlias = tuple[str, str, str]
_NONE = "–"
_LONGEST_NAME = 28


def result_rows(done: Quantized) -> list[Row]:
    from lmlab.lab.quantizing import bits_per_weight

    before, after = done.before, done.after
    change = f" ({after.size / before.size - 1:+.0%})"
    return [
        ("", one_line(done.source.stem, _LONGEST_NAME), one_line(done.path.stem, _LONGEST_NAME)),
        ("quantization", before.quantization, after.quantization),
        ("size", _megabytes(before.size), _megabytes(after.size) + change),
        ("bits a weight", f"{bits_per_weight(before):.2f}", f"{bits_per_weight(after):.2f}"),
    ]


def cost_rows(cost: QuantizedCost) -> list[Row]:
    speeds = (cost.before, cost.after)
    rows = []
    for label, name in (("prefill, tokens/s", "prefill"), ("decode, tokens/s", "decode")):
        old, new = (None if speed is None else getattr(speed, name) for speed in speeds)
        rows.append((label, _range(old), _range(new) + _change(old, new)))
    return rows


def _change(old: Spread | None, new: Spread | None) -> str:
    if old is None or new is None:
        return ""
    return f" ({new.median / old.median - 1:+.0%})" if new.apart_from(old) else " (alike)"


def drawn(rows: Sequence[Row]) -> str:
    """Return the rows in columns."""
    from rich.cells import cell_len, set_cell_size

    wide = [max(cell_len(row[column]) for row in rows) for column in range(2)]
    lines = (
        f"{set_cell_size(label, wide[0])}  {set_cell_size(before, wide[1])}  {after}" for label, before, after in rows
    )
    return "".join(line.rstrip() + "\n" for line in lines)


def wrapped(lines: Iterable[str], width: int) -> str:
    """Return sentences broken between words; what goes on is indented."""
    return "".join(textwrap.fill(line, max(width, 40), subsequent_indent="  ") + "\n" for line in lines)


def result_fields(done: Quantized) -> str:
    """Return a header and a line for each figure, its fields between tabs."""
    from lmlab.lab.quantizing import bits_per_weight

    before, after = done.before, done.after
    return _tabbed(
        ("what", "before", "after"),
        ("path", done.source, done.path),
        ("quantization", before.quantization, after.quantization),
        ("size", before.size, after.size),
        ("bits_per_weight", f"{bits_per_weight(before):.4f}", f"{bits_per_weight(after):.4f}"),
    )


def cost_fields(cost: QuantizedCost) -> str:
    """Return more such lines; what is of both models stands under ``after``."""
    lines: list[tuple[Any, Any, Any]] = []
    if cost.divergence is not None:
        figures = cost.divergence.figures
        lines += [
            ("perplexity", figures.perplexity_first.value, figures.perplexity_second.value),
            ("perplexity_error", _or_empty(figures.perplexity_first.error), _or_empty(figures.perplexity_second.error)),
            ("kl_divergence", "", figures.kl.value),
            ("kl_divergence_error", "", _or_empty(figures.kl.error)),
            ("top_token_agreement", "", figures.agreement.value),
            ("top_token_agreement_error", "", _or_empty(figures.agreement.error)),
        ]
    if cost.before is not None and cost.after is not None:
        for name in ("prefill", "decode"):
            old, new = getattr(cost.before, name), getattr(cost.after, name)
            lines.append((f"{name}_tokens_per_s", old.median, new.median))
    return _tabbed(*lines)


def _tabbed(*lines: tuple[Any, Any, Any]) -> str:
    return "".join("\t".join(" ".join(str(field).split("\t")) for field in line) + "\n" for line in lines)


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"


def _range(spread: Spread | None) -> str:
    if spread is None:
        return _NONE
    return f"{spread.median:,.3g} ({spread.low:,.3g} to {spread.high:,.3g})"
