"""One variant that takes part: what it is, and the worker that answers for it. Knows nothing of prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lmlab.backends import Backend, Layout, ModelInfo
from lmlab.errors import LmlabError, ModelError, UsageError
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.planning import Wanted, make_plans
from lmlab.lab.best_of import Selector
from lmlab.lab.variant import Variant
from lmlab.models import ModelFile

MOST = 4
"""Variants that are compared at once."""


@dataclass(slots=True, eq=False)
class Contender:
    """``index`` is its column, ``worker`` which worker answers for it: equal numbers share one, and its cache.

    ``info``, ``backend`` and ``selector`` are None until it is open.
    """

    index: int
    plan: Plan
    run: str
    worker: int
    info: ModelInfo | None = None
    backend: Backend | None = None
    selector: Selector | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        return self.plan.label

    @property
    def memory(self) -> int | None:
        """Bytes of main memory that its worker takes; None until it is open."""
        return None if self.info is None else taken(self.info.layout)


def taken(layout: Layout) -> int:
    return layout.weights + layout.kv + layout.compute


def plan_all(
    variants: tuple[Variant, ...],
    wanted: Wanted,
    *,
    resolve: Callable[[str | None], ModelFile],
    template_folder: Path | None,
) -> tuple[Plan, ...]:
    """Return a plan a variant. Raises LmlabError that says all that is wrong with them, not only the first of it."""
    if not 2 <= len(variants) <= MOST:
        raise UsageError(f"{_variants(len(variants))} to compare: give 2 to {MOST}")
    found: dict[str | None, ModelFile] = {}

    def resolve_once(ref: str | None) -> ModelFile:
        if ref not in found:
            found[ref] = resolve(ref)
        return found[ref]

    try:
        return make_plans(variants, wanted, resolve=resolve_once, template_folder=template_folder)
    except LmlabError:
        # How examples are shown need not be about each of them.
        common = wanted.approach and replace(wanted.approach, shots=None, pick="order", style=None)
        alone = replace(wanted, approach=common)
        problems: list[tuple[str, LmlabError]] = []
        for variant in variants:
            try:
                make_plans((variant,), alone, resolve=resolve_once, template_folder=template_folder)
            except LmlabError as error:
                problems.append((variant.text or variant.label, error))
        # What is wrong with all alike, or with no single one, is best said as it is.
        if len({str(error) for _, error in problems}) < 2:
            raise
        raise together(problems, len(variants), "be used") from None


def together(problems: list[tuple[str, LmlabError]], count: int, what: str) -> LmlabError:
    """Return one error for those of several variants, by name."""
    told = "; ".join(f"{name}: {error}" for name, error in problems)
    if len(problems) > 1:
        told = f"{len(problems)} of {_variants(count)} cannot {what}: {told}"
    if all(isinstance(error, UsageError) for _, error in problems):
        return UsageError(told)
    return ModelError(told)


def describe(contender: Contender) -> dict[str, Any]:
    """Return what a reader needs to make the same variant again, as plain JSON values."""
    plan = contender.plan
    task, load, header = plan.task, plan.load, plan.model.header
    renderer = task.renderer
    return {
        "label": plan.label,
        "run": contender.run,
        "model": {
            "ref": plan.model.ref,
            "fingerprint": plan.model.fingerprint,
            "quantization": header.quantization,
            "architecture": header.architecture,
            "parameters": header.parameters,
            "size": header.size,
            "chat_template": plan.chat,
        },
        "sampling": plan.asked.to_dict(),
        "seed": plan.seed,
        "template": None
        if renderer is None
        else {
            "name": renderer.template.name,
            "fingerprint": renderer.fingerprint,
            "technique": renderer.technique,
            "shots": renderer.shots,
            "inputs": list(renderer.template.inputs),
            "check": None if renderer.template.answer is None else renderer.template.answer.check,
        },
        "system": task.system if task.system is not None else plan.default_system,
        "raw": task.raw,
        "constraint": None if task.constraint is None else task.constraint.kind,
        "best_of": plan.candidates,
        "select": None if plan.selector is None else str(plan.selector),
        "load": {
            "context": load.context,
            "kv_type": f"{load.key_type},{load.value_type}",
            "lora": [f"{lora.path}:{lora.scale:g}" for lora in load.lora],
            "draft": load.draft,
            "deterministic": load.deterministic,
            "reuse": load.reuse,
        },
    }


def _variants(count: int) -> str:
    return "1 variant" if count == 1 else f"{count} variants"
