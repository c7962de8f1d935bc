"""From what was asked of a batch, and its variants, to plans. Knows nothing of command lines or rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.backends import Constraint, LoadSpec
from lmlab.errors import UsageError
from lmlab.lab.batch.plan import Plan
from lmlab.lab.batch.training import Keep
from lmlab.lab.batch.work import checks
from lmlab.lab.best_of import DEFAULT_SELECTOR, SelectorSpec
from lmlab.lab.draft import with_draft
from lmlab.lab.selectors.judge_prompts import JUDGE_TEMPLATES
from lmlab.lab.task import Task
from lmlab.lab.variant import Variant
from lmlab.models import ModelFile
from lmlab.sampling import SamplingParams

if TYPE_CHECKING:
    from lmlab.prompting import Approach, Renderer

SEED = 0
"""The run's seed when none is asked for: the same command does the same, so that it can be resumed."""

# More at once serve each other better, until a step's rows cost as much as their weights: measured on 2 cores.
SEQUENCES = 16
_MOST_SEQUENCES = 64
_WITHOUT_EXAMPLES = ("zero-shot", "cot")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What holds for every variant that does not say otherwise.

    ``sampling`` is what was asked for, ``below`` the config's: the template's recommendation is between them.
    ``variables`` are the template's inputs that are the same for every row.
    """

    sampling: SamplingParams = field(default_factory=SamplingParams)
    below: SamplingParams = field(default_factory=SamplingParams)
    load: LoadSpec = field(default_factory=lambda: LoadSpec(path=""))
    template: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    approach: Approach | None = None
    system: str | None = None
    default_system: str | None = None
    raw: bool = False
    parse_special: bool = False
    constraint: Constraint | None = None
    best_of: int | None = None
    select: SelectorSpec | None = None
    keep: Keep | None = None
    expect: str | None = None


def make_plans(
    variants: tuple[Variant, ...],
    wanted: Wanted,
    *,
    resolve: Callable[[str | None], ModelFile],
    template_folder: Path | None,
) -> tuple[Plan, ...]:
    """Return a plan a variant. Raises UsageError, ModelError or PromptError for what no row could mend."""
    plans = tuple(_plan(variant, wanted, resolve, template_folder) for variant in variants)
    _check_examples(plans, wanted)
    if wanted.expect is not None and not any(checks(plan) for plan in plans):
        raise UsageError(f"--expect {wanted.expect}: nothing reads answers here: give -t a template that has an answer")
    runs: dict[str, Plan] = {}
    labels: set[str] = set()
    for plan in plans:
        other = runs.setdefault(plan.fingerprint(), plan)
        if other is not plan:
            raise UsageError(f"the variants {other.label} and {plan.label} ask for the same: leave one out")
        if plan.label in labels:
            raise UsageError(f"two variants are called {plan.label}: give one a label, MODEL@label=NAME")
        labels.add(plan.label)
    # One worker serves all that are loaded alike, so it needs room for the widest.
    most = max(plan.candidates for plan in plans)
    return tuple(replace(plan, load=replace(plan.load, sequences=sequences(plan.load, most))) for plan in plans)


def sequences(load: LoadSpec, candidates: int) -> int:
    """Return how many sequences to decode at once."""
    if candidates > _MOST_SEQUENCES:
        raise UsageError(f"--best-of {candidates}: at most {_MOST_SEQUENCES} candidates are drawn at once")
    return 1 if load.deterministic else max(SEQUENCES, candidates)


def _plan(
    variant: Variant,
    wanted: Wanted,
    resolve: Callable[[str | None], ModelFile],
    template_folder: Path | None,
) -> Plan:
    renderer = _renderer(variant, wanted, template_folder)
    model = resolve(variant.ref)
    asked = variant.sampling.merge(wanted.sampling)
    if renderer is not None:
        asked = asked.merge(renderer.template.sampling)
    asked = asked.merge(wanted.below)
    seed = asked.seed if asked.seed is not None and asked.seed >= 0 else SEED
    candidates = variant.best_of or wanted.best_of or 1
    selector = variant.select or (wanted.select if candidates > 1 else None)
    if selector is not None and candidates == 1:
        raise UsageError(f"select={selector} chooses among candidates: say how many, best_of=N")
    if wanted.keep is not None and candidates == 1:
        raise UsageError(f"--keep {wanted.keep} chooses among candidates: say how many with --best-of N")
    if wanted.load.deterministic and variant.draft is not None:
        raise UsageError(
            f"{variant.label}: a draft changes the shape of batches, which --deterministic fixes: leave it out"
        )
    spec = with_draft(replace(wanted.load, draft=variant.draft or wanted.load.draft), resolve)
    task = Task(
        renderer,
        variant.system if variant.system is not None else wanted.system,
        wanted.raw,
        wanted.parse_special,
        wanted.constraint,
    )
    plan = Plan(
        label=variant.label or model.ref,
        model=model,
        load=replace(
            spec,
            path=str(model.path),
            context=variant.context if variant.context is not None else spec.context,
            lora=variant.lora or spec.lora,
        ),
        task=task,
        asked=replace(asked, seed=None),
        seed=seed,
        candidates=candidates,
        selector=(selector or DEFAULT_SELECTOR) if candidates > 1 else None,
        default_system=wanted.default_system,
        keep=wanted.keep,
        expect=wanted.expect,
        judged_by=_judged_by(selector, resolve, template_folder),
    )
    task.check(plan.chat)
    return plan


def _judged_by(
    selector: SelectorSpec | None, resolve: Callable[[str | None], ModelFile], template_folder: Path | None
) -> str | None:
    """Return what names the model and the templates a selector judges by: other ones may choose otherwise."""
    if selector is None or selector.kind not in ("judge", "reward"):
        return None
    model = resolve(selector.model).fingerprint if selector.model else "own"
    if selector.kind == "reward":
        return model
    from lmlab.prompting import Renderer, load

    return " ".join((model, *(Renderer(load(name, template_folder)).fingerprint for name in JUDGE_TEMPLATES)))


def _check_examples(plans: tuple[Plan, ...], wanted: Wanted) -> None:
    """Raise UsageError when it was said how examples are shown, and no variant shows any."""
    if wanted.approach is None or wanted.approach == replace(wanted.approach, shots=None, pick="order", style=None):
        return
    renderers = [plan.task.renderer for plan in plans]
    if not any(renderer is not None and renderer.shots for renderer in renderers):
        raise UsageError("--shots, --pick and --style are about examples, and no variant shows any: drop them")


def _renderer(variant: Variant, wanted: Wanted, template_folder: Path | None) -> Renderer | None:
    # Imported here: what renders templates is slow to import, and not every batch has one.
    from lmlab.prompting import Approach, Renderer, load

    name, common = variant.template or wanted.template, wanted.approach or Approach()
    if variant.technique in _WITHOUT_EXAMPLES:
        # How examples are shown is about the other variants then.
        common = Approach(common.technique)
    approach = replace(
        common,
        technique=variant.technique or common.technique,
        shots=variant.shots if variant.shots is not None else common.shots,
    )
    if name is not None:
        return Renderer(load(name, template_folder), approach, wanted.variables)
    if approach != Approach() or wanted.variables:
        raise UsageError("a technique, shots, examples or --var are of a template, and none is named: give -t NAME")
    return None
