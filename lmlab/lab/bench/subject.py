"""One variant as far as its speed goes: a model and how it is loaded. Knows nothing of what is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lmlab.backends import LoadSpec
from lmlab.errors import UsageError
from lmlab.lab.draft import with_draft
from lmlab.lab.variant import Variant
from lmlab.models import ModelFile

MOST = 4
"""Variants that are measured in turns."""
_NO_MATTER = ("preset", "template", "technique", "shots", "system", "best_of", "select")


@dataclass(frozen=True, slots=True)
class Subject:
    """``ignored`` names what the variant says that changes no speed."""

    label: str
    model: ModelFile
    load: LoadSpec
    ignored: tuple[str, ...] = ()


def subjects(
    variants: Sequence[Variant],
    load: LoadSpec,
    *,
    resolve: Callable[[str | None], ModelFile],
    saved: Callable[[LoadSpec], LoadSpec],
) -> tuple[Subject, ...]:
    """Return a subject a variant, each loaded as ``load`` has it where it does not say otherwise.

    ``saved`` adds what was kept for a model to how it is loaded.

    Raises UsageError when they cannot be told apart, are too many, or ask for what cannot be loaded together.
    """
    if len(variants) > MOST:
        raise UsageError(f"{len(variants)} variants to measure in turns: give {MOST} at most")
    found = tuple(_subject(variant, load, resolve, saved) for variant in variants)
    labels = [one.label for one in found]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise UsageError(f"two variants are called {twice}: give one a label, MODEL@label=NAME")
    return found


def _subject(
    variant: Variant,
    load: LoadSpec,
    resolve: Callable[[str | None], ModelFile],
    saved: Callable[[LoadSpec], LoadSpec],
) -> Subject:
    if load.deterministic and variant.draft is not None:
        raise UsageError(
            f"{variant.label}: a draft changes the shape of batches, which --deterministic fixes: leave it out"
        )
    model = resolve(variant.ref)
    spec = with_draft(replace(load, draft=variant.draft or load.draft), resolve)
    sampled = tuple(variant.sampling.to_dict())
    return Subject(
        variant.label or model.ref,
        model,
        saved(
            replace(
                spec,
                path=str(model.path),
                context=variant.context if variant.context is not None else spec.context,
                lora=variant.lora or spec.lora,
            )
        ),
        (*sampled, *(name for name in _NO_MATTER if getattr(variant, name) is not None)),
    )
