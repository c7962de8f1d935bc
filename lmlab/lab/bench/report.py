"""What a bench found, as one value that can be written and read again. Knows nothing of how it is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lmlab.errors import UsageError
from lmlab.lab.bench.amounts import UNITS, Amounts, Key, Unit
from lmlab.lab.bench.spread import Spread, spread_of

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """``bound``: what memory allows of it, None where that is not known. ``tokens``: the prompt's, of the whole program."""

    key: Key
    spread: Spread
    bound: float | None = None
    tokens: int | None = None

    @property
    def unit(self) -> Unit:
        return UNITS[self.key.measure]

    @property
    def share(self) -> float | None:
        """Of the bound, the part that was reached."""
        return self.spread.median / self.bound if self.bound else None

    def to_dict(self) -> dict[str, Any]:
        return {
            **asdict(self.key),
            "unit": self.unit,
            "median": self.spread.median,
            "low": self.spread.low,
            "high": self.spread.high,
            "runs": list(self.spread.runs),
            "memory_bound": self.bound,
            "share": self.share,
            "prompt_tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """One variant's. ``bandwidth`` in bytes per second; ``weights_read``: bytes a token. ``model`` and ``load`` are plain
    JSON values. ``notes`` say what was not measured, and why; ``failed``: something went wrong on the way."""

    label: str
    model: Mapping[str, Any]
    load: Mapping[str, Any]
    bandwidth: Spread | None
    weights_read: int | None
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    failed: bool = False

    def figure(self, key: Key) -> Figure | None:
        return next((figure for figure in self.figures if figure.key == key), None)

    def to_dict(self) -> dict[str, Any]:
        bandwidth = self.bandwidth
        return {
            "label": self.label,
            "model": dict(self.model),
            "load": dict(self.load),
            "memory_bandwidth": None if bandwidth is None else asdict(bandwidth),
            "weights_read_per_token": self.weights_read,
            "figures": [figure.to_dict() for figure in self.figures],
            "notes": list(self.notes),
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """``when`` in ISO 8601, with the offset. ``complete`` False: some of what was planned was not measured as often."""

    id: str
    when: str
    command: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    amounts: Amounts
    results: tuple[Result, ...]
    complete: bool

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "when": self.when,
            "command": self.command,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "amounts": asdict(self.amounts),
            "results": [result.to_dict() for result in self.results],
            "complete": self.complete,
        }


def parse_report(text: str, place: str) -> Report:
    """Return the report that ``text`` is the JSON of. Raises UsageError that names ``place``."""
    try:
        said = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if said["format"] != FORMAT:
            raise UsageError(f"{place} is a benchmark of format {said['format']}; this lmlab reads format {FORMAT}")
        amounts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in said["amounts"].items()
        }
        return Report(
            id=str(said["id"]),
            when=str(said["when"]),
            command=str(said["command"]),
            machine=dict(said["machine"]),
            versions=dict(said["versions"]),
            amounts=Amounts(**amounts),
            results=tuple(_result(one) for one in said["results"]),
            complete=bool(said["complete"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UsageError(f"{place} is no benchmark of lmlab: {type(error).__name__} ({error})") from None


def _result(said: Mapping[str, Any]) -> Result:
    bandwidth = said["memory_bandwidth"]
    return Result(
        label=str(said["label"]),
        model=dict(said["model"]),
        load=dict(said["load"]),
        bandwidth=None if bandwidth is None else spread_of([_finite(run) for run in bandwidth["runs"]]),
        weights_read=said["weights_read_per_token"],
        figures=tuple(_figure(one) for one in said["figures"]),
        notes=tuple(map(str, said["notes"])),
        failed=bool(said["failed"]),
    )


def _figure(said: Mapping[str, Any]) -> Figure:
    if said["measure"] not in UNITS:
        raise ValueError(f"unknown measure {said['measure']!r}")
    key = Key(said["measure"], int(said["depth"]), int(said["sequences"]))
    bound = said["memory_bound"]
    return Figure(
        key,
        spread_of([_finite(run) for run in said["runs"]]),
        None if bound is None else _finite(bound),
        said["prompt_tokens"],
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is no amount")
    return number
