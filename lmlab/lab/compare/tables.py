"""A report as tables of words: which rows there are and what each cell says. Knows nothing of Markdown or HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from lmlab.lab.compare.figures import Figures
from lmlab.lab.compare.measures import Duel, Mean, Measure, MeasureKind
from lmlab.lab.compare.report import Report
from lmlab.lab.sampling_words import format_value, hyphened
from lmlab.models.progress import size_text
from lmlab.sampling import SamplingParams
from lmlab.terminal_text import one_line

_CELL = 200
NOT_KNOWN = "–"
_AHEAD: dict[MeasureKind, str] = {
    "votes": "is preferred to",
    "judge": "is judged better than",
    "check": "is correct more often than",
    "score": "is marked higher than",
}


@dataclass(frozen=True, slots=True)
class Table:
    """``head`` names the columns; the first names rows, the others are numbers where ``numeric``."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True


def variant_tables(report: Report) -> tuple[Table, Table]:
    """Return what differs between the variants, and what is the same for all of them."""
    facts = [dict(_facts(variant, engine)) for variant, engine in zip(report.variants, report.engines, strict=True)]
    names = dict.fromkeys(name for one in facts for name in one)
    differing, same = [], []
    for name in names:
        values = [one.get(name, NOT_KNOWN) for one in facts]
        if len(set(values)) > 1:
            differing.append((name, *values))
        else:
            same.append((name, values[0]))
    return Table(("", *report.labels), tuple(differing), numeric=False), Table(
        ("", "all variants"), tuple(same), numeric=False
    )


def figure_table(report: Report) -> Table:
    """Return what the answers took, a column a variant; rows that say nothing of any are left out."""
    columns = [dict(_figures(figures)) for figures in report.figures]
    names = [name for name in dict(_figures(report.figures[0])) if any(column[name] for column in columns)]
    rows = [(name, *(column[name] or NOT_KNOWN for column in columns)) for name in names]
    return Table(("", *report.labels), tuple(rows))


def at_once(report: Report) -> int:
    """Return how many answers were drawn at a time by one model, at most."""
    return max((engine["sequences"] for engine in report.engines if engine is not None), default=1)


def figure_notes(report: Report) -> Iterator[str]:
    """Yield what must be known to read the figures."""
    if (most := at_once(report)) > 1 and len(report.prompts) * report.repeats > 1:
        yield f"as many as {most} answers were drawn at a time: the times are those of a busy machine, waiting included"
    drawn = zip(report.labels, report.engines, strict=True)
    greedy = [label for label, engine in drawn if engine is not None and engine["sampling"]["temperature"] == 0]
    if greedy and report.repeats > 1:
        yield repeats_alike(greedy, report.repeats)


def repeats_alike(labels: Sequence[str], repeats: int) -> str:
    """Return what there is to say of variants that are greedy, and yet were to answer each prompt several times."""
    names = ", ".join(one_line(label, 40) for label in labels)
    return f"at temperature 0 the {repeats} answers to a prompt are alike, and tell no more than one: {names}"


def mean_table(measure: Measure, labels: Sequence[str]) -> Table | None:
    """Return the variants' own figures; None for what only compares."""
    if not measure.means:
        return None
    what = "correct" if measure.kind == "check" else "mean mark"
    rows = [
        (labels[mean.variant], number(mean.mean, measure), interval(mean.low, mean.high, measure), f"{mean.prompts:,}")
        for mean in measure.means
    ]
    return Table(("", what, "95 % interval", "prompts"), tuple(rows))


def duel_table(measure: Measure, labels: Sequence[str]) -> Table:
    """Return what is said of each two variants."""
    several = len(measure.duels) > 1
    scaled = any(duel.mean is not None for duel in measure.duels)
    head = ["", "won", "lost", "tied", "share won", "95 % interval", "p"]
    head += ["p, Holm"] if several else []
    head += ["mean difference", "95 % interval"] if scaled else []
    rows = []
    for duel in measure.duels:
        rate = duel.rate
        row = [pair_name(duel, labels), f"{rate.wins:,}", f"{rate.losses:,}", f"{rate.ties:,}"]
        row += [NOT_KNOWN if rate.share is None else percent(rate.share), share_interval(rate.low, rate.high)]
        row += [chance(rate.p)] + ([chance(duel.adjusted)] if several else [])
        if scaled:
            row += [
                NOT_KNOWN if duel.mean is None else difference(duel.mean, measure),
                interval(duel.low, duel.high, measure, signed=True),
            ]
        rows.append(tuple(row))
    return Table(tuple(head), tuple(rows))


def conclusion(duel: Duel, measure: Measure, labels: Sequence[str]) -> str:
    """Return in a sentence what is shown of two variants, or that nothing is."""
    first, second = labels[duel.first], labels[duel.second]
    rate = duel.rate
    if rate.share is None:
        all_tie = f": all {rate.ties:,} prompts tie" if rate.ties > 1 else ": the one prompt ties"
        tied = all_tie if rate.ties else ": no prompt has a mark for both"
        return f"{first} and {second} are not told apart{tied}."
    ahead, behind, won = (first, second, rate.wins) if rate.wins >= rate.losses else (second, first, rate.losses)
    decided = "prompts that were" if rate.decided > 1 else "prompt that was"
    count = f"{won:,} of {rate.decided:,} {decided} decided (p {equals(duel.adjusted)})"
    if duel.adjusted <= 0.05:
        return f"{ahead} {_AHEAD[measure.kind]} {behind}: it won {count}."
    said = f"No difference is shown between {first} and {second}: {ahead} won {count}"
    if duel.more:
        said += f"; about {duel.more:,} more prompt{'s' if duel.more > 1 else ''} would decide it, should it go on so"
    return said + "."


def title_of(measure: Measure) -> str:
    match measure.kind:
        case "votes":
            return "Votes of a person"
        case "judge":
            return f"Verdicts of the judge {_file_name(measure.name)}"
        case "check":
            return f"Correct answers (check: {measure.name})"
        case _:
            return f"Marks by {one_line(measure.name, 80)}"


def _file_name(ref: str) -> str:
    """Return a reference without the folders of a path."""
    return one_line(PureWindowsPath(ref).name if ref.lower().endswith(".gguf") else ref, 80)


def pair_name(duel: Duel, labels: Sequence[str]) -> str:
    return f"{labels[duel.first]} against {labels[duel.second]}"


def number(value: float, measure: Measure) -> str:
    return percent(value) if measure.kind == "check" else plain(value)


def plain(value: float) -> str:
    """Return a mark as text: with so many digits that two of one size can be told apart."""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def difference(value: float, measure: Measure) -> str:
    return f"{100 * value:+.1f} points" if measure.kind == "check" else _signed(value)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + plain(value)


def interval(low: float | None, high: float | None, measure: Measure, *, signed: bool = False) -> str:
    if low is None or high is None:
        return "all alike"
    if measure.kind != "check":
        return f"{_signed(low)} to {_signed(high)}" if signed else f"{plain(low)} to {plain(high)}"
    return f"{100 * low:+.1f} to {100 * high:+.1f}" if signed else share_interval(low, high)


def share_interval(low: float | None, high: float | None) -> str:
    return NOT_KNOWN if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def equals(p: float) -> str:
    return chance(p) if p < 0.0001 else f"= {chance(p)}"


def chance(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def mean_range(means: Sequence[Mean]) -> tuple[float, float]:
    """Return the least and the largest of all means and their intervals."""
    values = [value for mean in means for value in (mean.mean, mean.low, mean.high) if value is not None]
    return min(values), max(values)


def _figures(figures: Figures) -> Iterator[tuple[str, str]]:
    """Yield a name and what it is, empty where there is nothing to say."""
    yield "answers", f"{figures.answers:,}"
    yield "failed", f"{figures.failed:,}" if figures.failed else ""
    yield "cut off by a limit", f"{figures.cut:,}" if figures.cut else ""
    yield "tokens, mean", "" if figures.tokens is None else f"{figures.tokens:.1f}"
    yield "tokens, longest", f"{figures.longest:,}" if figures.longest else ""
    yield "prompt tokens", f"{figures.prompt_tokens:,}" if figures.prompt_tokens else ""
    yield "of these cached", "" if figures.cached is None else percent(figures.cached)
    yield "first token, median", "" if figures.ttft_s is None else f"{figures.ttft_s:.2f} s"
    yield "tokens/s, median", "" if figures.tokens_per_s is None else f"{figures.tokens_per_s:.1f}"
    yield "log-probability a token", "" if figures.logprob is None else f"{figures.logprob:.3f}"


def _facts(variant: Mapping[str, Any], engine: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    model, load, template = variant["model"], variant["load"], variant["template"]
    kind = f"{model['architecture']}, {model['quantization']}, {model['parameters'] / 1e6:,.0f} M parameters"
    yield "model", one_line(model["ref"], _CELL)
    yield "file", f"{kind}, {size_text(model['size'])}, fingerprint {model['fingerprint']}"
    yield "prompted", "by its chat template" if model["chat_template"] and not variant["raw"] else "with plain text"
    if template is not None:
        yield "template", f"{template['name']}, {template['technique']}, {template['shots']} shots"
        yield "template's fingerprint", template["fingerprint"]
    if variant["system"]:
        yield "system message", one_line(variant["system"], _CELL)
    if variant["constraint"]:
        yield "constraint", variant["constraint"]
    values = variant["sampling"] if engine is None else engine["sampling"]
    sampling = SamplingParams.from_dict(values)
    for name in values:
        yield hyphened(name), format_value(name, sampling)
    yield "seed of the run", str(variant["seed"])
    if variant["best_of"] > 1:
        yield "candidates", f"{variant['best_of']}, chosen by {one_line(str(variant['select']), _CELL)}"
    for name, value in (("draft", load["draft"]), ("LoRA", ", ".join(load["lora"]))):
        if value:
            yield name, one_line(value, _CELL)
    if load["deterministic"]:
        yield "deterministic", "yes"
    if not load["reuse"]:
        yield "prefix cache", "off"
    if engine is not None:
        yield "context", f"{engine['context']:,} tokens"
        yield "KV cache", f"{engine['kv_type']}, flash attention {'on' if engine['flash_attention'] else 'off'}"
        yield "memory", size_text(sum(engine["memory"][name] for name in ("weights", "kv", "compute")))
        yield "threads", str(engine["threads"])
        yield "llama.cpp binding", engine["llama_cpp"]
