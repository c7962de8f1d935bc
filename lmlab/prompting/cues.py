"""What a base model's reasoning goes on from. Knows nothing of prompts' layout."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmlab.prompting.template import Example

_USUAL = "Reasoning:"
# "Let's think step by step." begins the reasoning itself; other sentences are orders, which a base model would go on giving.
_LEADS_IN = re.compile(r"let(?:['’]s| us)\b", re.IGNORECASE)
_LABEL = re.compile(r"[^\W\d][\w ]{0,30}:(?= )")


def reasoning_cue(cot: str, examples: Sequence[Example]) -> str:
    """Return ``cot`` if it leads in to reasoning, else the label that all examples' reasoning has, else the usual one."""
    if _LEADS_IN.match(cot):
        return cot
    labels = [_LABEL.match(example.reasoning.strip()) for example in examples if example.reasoning]
    found = {label[0] if label else _USUAL for label in labels}
    return found.pop() if len(found) == 1 else _USUAL
