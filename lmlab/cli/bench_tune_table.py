"""What ``lmlab bench --tune`` prints: what was tried, what won, and what the model does now. Knows nothing of how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lmlab.cli.models_quantize_table import drawn, wrapped

if TYPE_CHECKING:
    from lmlab.lab.divergence import Divergence
    from lmlab.lab.tuning.rule import Gain
    from lmlab.lab.tuning.search import Step
    from lmlab.lab.tuning.tune import Tuning

_SAMPLE = "the examples of lmlab's prompt templates"
_FIELDS = ("what", "usual", "tried", "kept", "gain", "gain_low", "gain_high", "why")


def text(tuning: Tuning, cost: Divergence | None, width: int) -> str:
    """Return it for a person, no wider than ``width`` where words can be broken."""
    rows = [(step.name, _tried(step), outcome(step)) for step in tuning.steps]
    size = tuning.workload
    measured = (
        f"measured with prompts of up to {size.prompt:,} tokens and replies of {size.decode} after {size.depth:,} tokens, "
        f"{tuning.measurements} times in {tuning.seconds:.0f} s"
    )
    lines = [measured]
    parts = [drawn(rows) if rows else ""]
    for what, found in (("with other weights", tuning.weights), ("with these settings", tuning.found)):
        if found is not None and found.before is not None and found.after is not None:
            before, after = found.before, found.after
            speeds = (
                ("tokens/s", "before", what),
                ("prefill", f"{before.prefill:,.4g}", f"{after.prefill:,.4g}"),
                ("decode", f"{before.decode:,.4g}", f"{after.decode:,.4g}"),
            )
            parts.append("\n" + drawn(speeds))
    lines += costs(cost)
    parts.append("\n" + wrapped(lines, width))
    return "".join(parts)


def costs(cost: Divergence | None) -> list[str]:
    """Return how far replies move, a line each; nothing where they do not."""
    return [] if cost is None else [f"what it costs, over {_SAMPLE}:", *cost.words()]


def tab_separated(steps: Sequence[Step]) -> str:
    """Return a header and a line each."""
    rows: list[Sequence[Any]] = [_FIELDS]
    for step in steps:
        gain = step.gain
        numbers = ("", "", "") if gain is None else tuple(f"{one:.4f}" for one in (gain.median, gain.low, gain.high))
        rows.append((step.name, step.usual, ",".join(step.tried), step.kept or "", *numbers, step.why))
    return "".join("\t".join(" ".join(str(field).split()) for field in row) + "\n" for row in rows)


def as_dict(tuning: Tuning, cost: Divergence | None) -> dict[str, Any]:
    """Return all of it as plain JSON values."""
    found = tuning.found
    return {
        "settings": asdict(tuning.settings),
        "path": found.spec.path,
        "gain": _gain(found.gain),
        "before": None if found.before is None else asdict(found.before),
        "after": None if found.after is None else asdict(found.after),
        "steps": [
            {
                "what": step.name,
                "usual": step.usual,
                "tried": list(step.tried),
                "best": step.best,
                "kept": step.kept,
                "gain": _gain(step.gain),
                "why": step.why,
                "failed": dict(step.failed),
            }
            for step in tuning.steps
        ],
        "cost": None if cost is None else {name: _whole(cost)[name] for name in ("text", "figures", "agreement")},
        "workload": asdict(tuning.workload),
        "measurements": tuning.measurements,
        "seconds": tuning.seconds,
    }


def _tried(step: Step) -> str:
    return ", ".join(step.tried) if step.tried != (step.name,) else ""


def outcome(step: Step) -> str:
    """Return what came of a step in a few words."""
    if step.kept is None:
        best = (
            f"{step.best} was " if step.best not in (None, step.name) and step.why.startswith(("not", "faster")) else ""
        )
        return f"stays {step.usual}: {best}{step.why}"
    gain = "" if step.gain is None else f"{step.gain.median:+.0%} ({step.gain.low:+.0%} to {step.gain.high:+.0%})"
    return gain if step.kept == step.name else f"{step.kept}, not {step.usual}: {gain}"


def _whole(cost: Divergence) -> dict[str, Any]:
    from lmlab.lab.quantized_cost import QuantizedCost

    return QuantizedCost(_SAMPLE, cost, None, None).to_dict()


def _gain(gain: Gain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    return {"median": gain.median, "low": gain.low, "high": gain.high, "rounds": list(gain.rounds)}
