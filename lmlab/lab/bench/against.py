"""Two benchmarks compared, figure by figure: how many times as much, and whether that is beyond how they vary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.errors import UsageError
from lmlab.lab.bench.amounts import Key
from lmlab.lab.bench.report import Report, Result
from lmlab.lab.bench.spread import Spread
from lmlab.terminal_text import one_line


@dataclass(frozen=True, slots=True)
class Change:
    """``apart``: no run of one benchmark is within the range of the other's; None when either has a single run."""

    label: str
    key: Key
    now: Spread
    before: Spread

    @property
    def ratio(self) -> float | None:
        """Now to before; None when there was nothing before."""
        return self.now.median / self.before.median if self.before.median else None

    @property
    def apart(self) -> bool | None:
        return self.now.apart_from(self.before)

    def to_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            **asdict(self.key),
            "now": self.now.median,
            "before": self.before.median,
            "ratio": self.ratio,
            "beyond_spread": self.apart,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """``notes``: what else differs, in sentences, and what could not be compared."""

    before: Report
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.before.id,
            "when": self.before.when,
            "changes": [change.to_dict() for change in self.changes],
            "notes": list(self.notes),
        }


def check_comparable(labels: Sequence[str], before: Report) -> None:
    """Raise UsageError when variants of these ``labels`` would have nothing to be compared with in ``before``."""
    earlier = [result.label for result in before.results]
    if not (len(labels) == len(earlier) == 1 or set(labels) & set(earlier)):
        raise UsageError(
            f"the benchmark {before.id} is of {one_line(', '.join(earlier), 80) or 'nothing'}, so there is nothing to "
            f"compare {one_line(', '.join(labels), 80)} with: name one of those, or leave out --against"
        )


def compare_reports(now: Report, before: Report) -> Comparison:
    """Compare the variants that are called the same; of one variant each, those two."""
    changes: list[Change] = []
    notes = list(_surroundings(now, before))
    for result, earlier in _pairs(now, before):
        if earlier is None:
            notes.append(f"{result.label} is not in that benchmark")
            continue
        notes += _differences(result, earlier)
        for figure in result.figures:
            other = earlier.figure(figure.key)
            if other is not None:
                changes.append(Change(result.label, figure.key, figure.spread, other.spread))
        alone = [figure for figure in result.figures if earlier.figure(figure.key) is None]
        if alone:
            notes.append(f"{result.label}: {len(alone)} of {len(result.figures)} figures are not in that benchmark")
    return Comparison(before, tuple(changes), tuple(notes))


def _pairs(now: Report, before: Report) -> Iterator[tuple[Result, Result | None]]:
    if len(now.results) == len(before.results) == 1:
        yield now.results[0], before.results[0]
        return
    earlier = {result.label: result for result in before.results}
    for result in now.results:
        yield result, earlier.get(result.label)


def _surroundings(now: Report, before: Report) -> Iterator[str]:
    changed = [key for key, value in now.machine.items() if before.machine.get(key) != value]
    for key in changed:
        yield f"another {key.replace('_', ' ')}: {before.machine.get(key)} then, {now.machine[key]} now"
    for key, version in now.versions.items():
        if (then := before.versions.get(key)) != version:
            yield f"{key} {then} then, {version} now"
    amounts, earlier = asdict(now.amounts), asdict(before.amounts)
    for key in ("prompt", "decode", "together_decode", "together_depth", "reply"):
        if amounts[key] != earlier[key]:
            yield f"{key.replace('_', ' ')} of {earlier[key]} tokens then, {amounts[key]} now"


def _differences(now: Result, before: Result) -> Iterator[str]:
    if now.label != before.label:
        yield f"{now.label} is compared with {before.label}"
    if now.model.get("fingerprint") != before.model.get("fingerprint"):
        yield f"{now.label}: another model file"
    for key, value in now.load.items():
        # Which llama.cpp it was is said of the whole benchmark.
        if key != "llama_cpp" and before.load.get(key) != value:
            yield f"{now.label}: {key.replace('_', ' ')} {before.load.get(key)} then, {value} now"
