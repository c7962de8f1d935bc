"""How a template is put: by which technique, with which examples. Knows nothing of what is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lmlab.errors import PromptError, UsageError
from lmlab.prompting.picking import Pick
from lmlab.prompting.template import USUAL_SHOTS, PromptTemplate, Style, Technique

_SHAPING = frozenset({"inputs", "examples", "cot", "answer", "stop", "body"})


@dataclass(frozen=True, slots=True)
class Approach:
    """How to put a template. None: as the template has it. ``pick_seed`` is what ``random`` is drawn with."""

    technique: Technique | None = None
    shots: int | None = None
    pick: Pick = "order"
    pick_seed: int = 0
    style: Style | None = None


def pool_of(template: PromptTemplate, technique: Technique) -> tuple[int, ...]:
    """Return the indices of the examples that the technique may show."""
    if technique in ("zero-shot", "cot"):
        return ()
    examples = enumerate(template.examples)
    return tuple(index for index, example in examples if technique == "few-shot" or example.reasoning)


def shots_of(template: PromptTemplate, approach: Approach, technique: Technique, pool: Sequence[int]) -> int:
    """Return how many examples are shown. Raises UsageError or PromptError when there are not so many."""
    if technique in ("zero-shot", "cot"):
        given = {"--shots": approach.shots, "--pick": approach.pick != "order" or None, "--style": approach.style}
        if option := next((name for name, value in given.items() if value is not None), None):
            with_examples = "few-shot" if technique == "zero-shot" else "few-shot-cot"
            raise UsageError(f"{option} is about examples, and {technique} shows none: add --technique {with_examples}")
        return 0
    if not template.examples:
        raise UsageError(f"{template.name} has no examples: --technique zero-shot and cot need none")
    if approach.shots is not None and approach.shots < 1:
        raise UsageError(f"--shots {approach.shots}: {technique} shows at least 1; zero-shot and cot show none")
    if not pool:
        raise PromptError(_without_reasoning(template, technique))
    wanted = approach.shots or template.shots or min(USUAL_SHOTS, len(pool))
    if wanted <= len(pool):
        return wanted
    if technique == "few-shot-cot" and wanted <= len(template.examples) and not template.packaged:
        without = next(index for index in range(len(template.examples)) if index not in pool)
        raise PromptError(
            f"{template.place(template.example_lines[without])}: this example has no reasoning; {technique} is to "
            f"show {wanted}, and {len(pool)} of {len(template.examples)} have one: write it, or give --shots {len(pool)}"
        )
    raise UsageError(
        f"{wanted} examples were asked for, and {template.name} has {len(pool)}: --shots {len(pool)} at most"
    )


def _without_reasoning(template: PromptTemplate, technique: Technique) -> str:
    if template.packaged:
        return (
            f"the examples of {template.name} have no reasoning, and {technique} shows some: take --technique few-shot "
            f"or cot, or write it into a template of your own, begun with lmlab prompts show {template.name} > mine.md"
        )
    return (
        f"{template.place(template.example_lines[0])}: this example has no reasoning, nor has any other; "
        f"{technique} shows some: write it, or take --technique few-shot or cot"
    )


def fingerprint_of(
    template: PromptTemplate,
    technique: Technique,
    shots: int,
    approach: Approach,
    style: Style,
    fixed: Mapping[str, str],
) -> str:
    """Return what names all that shapes the prompts of a template put so."""
    content = {key: value for key, value in template.to_dict().items() if key in _SHAPING}
    shape = {
        "template": content,
        "technique": technique,
        "shots": shots,
        "pick": approach.pick if shots else None,
        "pick_seed": approach.pick_seed if shots and approach.pick == "random" else None,
        "style": style,
        "fixed": dict(fixed),
    }
    # An example's inputs may be what JSON has no word for, such as a date of YAML.
    text = json.dumps(shape, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
