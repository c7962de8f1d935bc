"""What ``lmlab bench`` prints: tables for people, separated fields for programs. Knows nothing of how figures come about."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lmlab.cli.bench_words import NONE, about, amount, name, section, span, with_unit
from lmlab.models import size_text
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from rich.table import Table

    from lmlab.lab.bench.against import Change, Comparison
    from lmlab.lab.bench.amounts import Key
    from lmlab.lab.bench.report import Figure, Report, Result

_FIELDS = ("variant", "measure", "depth", "sequences", "unit", "median", "low", "high", "runs", "memory_bound", "share")
_COMPARED = ("before", "ratio", "beyond_spread")
_HISTORY = ("id", "when", "variants", "prefill", "decode", "complete", "processor", "command")
_MORE_IS_BETTER = "tokens/s"


def text(report: Report) -> str:
    """Return all figures, a block of lines about each variant before them."""
    heads = "".join(_head(result) for result in report.results)
    if len(report.results) == 1:
        return heads + _drawn(_one(report.results[0]))
    return f"{heads}prefill, decode and reply in tokens/s\n{_drawn(_several(report))}"


def separated(report: Report, comparison: Comparison | None, between: str) -> str:
    """Return a header and a line a figure."""
    changes = {} if comparison is None else {(one.label, one.key): one for one in comparison.changes}
    fields = (*_FIELDS, *(_COMPARED if comparison is not None else ()))
    rows: list[Sequence[Any]] = [fields]
    for result in report.results:
        for figure in result.figures:
            values = {"variant": result.label, **figure.to_dict(), "runs": len(figure.spread.runs)}
            if change := changes.get((result.label, figure.key)):
                values |= {"before": change.before.median, "ratio": change.ratio, "beyond_spread": change.apart}
            rows.append([values.get(field) for field in fields])
    return _lines(rows, between)


def comparison(found: Comparison) -> str:
    """Return every figure beside the one before."""
    table = _table("", "before", "now", "now/before", "")
    several = len({change.label for change in found.changes}) > 1
    for change in found.changes:
        unit = _unit(change.key)
        what = f"{change.label}: {name(change.key)}" if several else name(change.key)
        ratio = NONE if change.ratio is None else f"{change.ratio:.3f}"
        values = (amount(change.before.median, unit), amount(change.now.median, unit))
        table.add_row(*_cells(what, *values, ratio, _verdict(change)))
    when = found.before.when.replace("T", " ")[:16]
    said = "better and worse: no run of one is within the range of the other's runs"
    return f"\nagainst {found.before.id} of {when}\n{_drawn(table)}{said}\n"


def history(reports: Sequence[Report]) -> str:
    """Return a line a benchmark, the oldest first."""
    table = _table("id", "when", "prefill", "decode", "variants")
    for one in reports:
        row = _history(one)
        rates = [_rates(one, measure, amount) for measure in ("prefill", "decode")]
        table.add_row(*_cells(one.id, str(row["when"]).replace("T", " ")[:16], *rates, str(row["variants"])))
    return _drawn(table)


def history_separated(reports: Sequence[Report], between: str) -> str:
    rows: list[Sequence[Any]] = [_HISTORY]
    rows += [[row[field] for field in _HISTORY] for row in map(_history, reports)]
    return _lines(rows, between)


def _history(report: Report) -> dict[str, Any]:
    return {
        "id": report.id,
        "when": report.when,
        "variants": ", ".join(result.label for result in report.results),
        "prefill": _rates(report, "prefill", lambda value, unit: f"{value:.2f}"),
        "decode": _rates(report, "decode", lambda value, unit: f"{value:.2f}"),
        "complete": report.complete,
        "processor": report.machine.get("processor"),
        "command": report.command,
    }


def _rates(report: Report, measure: Any, said: Any) -> str:
    """Return each variant's rate at its smallest depth."""
    rates = []
    for result in report.results:
        found = [one for one in result.figures if one.key.measure == measure and one.key.sequences == 1]
        least = min(found, key=lambda one: one.key.depth, default=None)
        rates.append(NONE if least is None else said(least.spread.median, least.unit))
    return ", ".join(rates)


def _head(result: Result) -> str:
    model, load = result.model, result.load
    flash = "on" if load["flash_attention"] else "off"
    threads = "1 thread" if load["threads"] == 1 else f"{load['threads']} threads"
    key_type, _, value_type = load["kv_type"].partition(",")
    kept = key_type if key_type == value_type else f"{key_type} and {value_type}"
    first = f"{result.label}: {model['quantization']}, {size_text(model['size'])}, {threads}"
    first += f", {load['gpu_layers']} layers on a GPU" if load["gpu_layers"] else ""
    lines = [
        first,
        f"  context {load['context']:,}, KV {kept}, flash attention {flash}, ubatch {load['ubatch']}",
    ]
    if result.bandwidth is not None and result.weights_read is not None:
        rate = result.bandwidth
        lines.append(
            f"  bound: {size_text(result.weights_read)} of weights a token, memory read at {rate.median / 1e9:.1f} GB/s "
            f"({rate.low / 1e9:.1f}–{rate.high / 1e9:.1f})"
        )
    return "".join(f"{line}\n" for line in lines)


def _one(result: Result) -> Table:
    bounds = any(figure.bound for figure in result.figures)
    table = _table("", "median", "least–most", *(("bound", "reached") if bounds else ()))
    for heading, figures in _sections(result.figures):
        table.add_row(f"\n{heading}")
        for figure in figures:
            more = (
                NONE if figure.bound is None else amount(figure.bound, figure.unit),
                NONE if figure.share is None else f"{figure.share:.0%}",
            )
            said = with_unit(figure.spread.median, figure.unit)
            table.add_row(
                *_cells(f"  {_name(figure)}", said, span(figure.spread, figure.unit), *(more if bounds else ()))
            )
    return table


def _several(report: Report) -> Table:
    table = _table("", *(one_line(result.label, 30) for result in report.results))
    # Of variants that differ in what fits, each has keys of its own.
    every = {figure.key: figure for result in report.results for figure in result.figures}
    for heading, figures in _sections(list(every.values())):
        table.add_row(f"\n{heading}")
        for figure in figures:
            found = [result.figure(figure.key) for result in report.results]
            table.add_row(*_cells(f"  {_name(figure)}", *(NONE if one is None else about(one) for one in found)))
            shares = [None if one is None else one.share for one in found]
            if any(shares) and figure.key.sequences == 1:
                said = (NONE if share is None else f"{share:.0%}" for share in shares)
                table.add_row(*_cells("    of the bound", *said))
    return table


def _sections(figures: Sequence[Figure]) -> Iterator[tuple[str, list[Figure]]]:
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        groups.setdefault(section(figure.key), []).append(figure)
    yield from groups.items()


def _name(figure: Figure) -> str:
    said = name(figure.key)
    # Of the questions that follow, the JSON says how long they were.
    return f"{said} ({figure.tokens:,} tokens)" if figure.key.measure == "first_token" and figure.tokens else said


def _verdict(change: Change) -> str:
    if change.apart is None:
        return "one run: cannot tell"
    if not change.apart:
        return "within the spread"
    more = change.now.median > change.before.median
    return "better" if more == (_unit(change.key) == _MORE_IS_BETTER) else "worse"


def _unit(key: Key) -> Any:
    from lmlab.lab.bench.amounts import UNITS

    return UNITS[key.measure]


def _table(*heads: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, head in enumerate(heads):
        last_is_words = number == len(heads) - 1 and head in ("", "variants")
        justify: Any = "left" if number == 0 or last_is_words or head == "when" else "right"
        table.add_column(head, justify=justify, overflow="fold")
    return table


def _cells(*texts: str) -> Iterator[Any]:
    from rich.text import Text

    return (Text(one) for one in texts)


def _drawn(table: Table) -> str:
    from rich.console import Console

    # Not drawn by rich itself: stdout has one owner, which makes what it shows on a terminal safe.
    console = Console(file=io.StringIO(), color_system=None, width=shutil.get_terminal_size().columns)
    with console.capture() as capture:
        console.print(table)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _lines(rows: Sequence[Sequence[Any]], between: str) -> str:
    """Return ``rows`` with fields quoted where they must be, for commas; for tabs, with no tab or line end in a field."""
    written = [[_field(value) for value in row] for row in rows]
    if between == "\t":
        return "".join("\t".join(" ".join(field.split()) for field in row) + "\n" for row in written)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(written)
    return out.getvalue()


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
