"""Answers as training data, in the shapes that the common fine-tuning trainers read. Knows nothing of files.

``best`` is rejection sampling: a conversation that ends with the answer kept, ``{"messages": [...]}``; for a text
without a chat template ``{"prompt": ..., "completion": ...}``. ``pairs`` is preference data, ``{"prompt": ...,
"chosen": ..., "rejected": ...}``, messages or texts alike. ``all`` has every candidate with its score. These are TRL's
"conversational" and "standard" formats for language modelling, prompt-completion and preference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from lmlab.backends import ChatPrompt, Prompt
from lmlab.errors import UsageError
from lmlab.lab.best_of import Candidate, Choice, SelectorSpec

Keep: TypeAlias = Literal["best", "all", "pairs"]
KEEPS: tuple[Keep, ...] = get_args(Keep)

# Their scores say whether a candidate passed, others only which is the better.
_PASSING = ("regex", "command")


def passed(selector: SelectorSpec, best: Candidate) -> bool:
    """Whether the candidate chosen passed what the selector asks: a pattern, or a command that gave it more than 0."""
    return selector.kind not in _PASSING or (best.score is not None and best.score > 0)


def parse_keep(text: str) -> Keep:
    keep = next((keep for keep in KEEPS if keep == text), None)
    if keep is None:
        raise UsageError(f"--keep {text}: give one of {', '.join(KEEPS)}")
    return keep


def training_row(
    keep: Keep, prompt: Prompt, choice: Choice, selector: SelectorSpec, correct: Mapping[int, bool]
) -> dict[str, Any] | str:
    """Return the row, or in a few words why this answer makes none.

    ``correct`` says of candidates, by index, whether they gave the expected answer; it is empty when none is known. A
    wrong one, or one that ``regex`` or ``command`` did not pass, is never kept or chosen.
    """
    best = choice.best
    if keep == "all":
        return {
            "prompt": _asked(prompt),
            "candidates": [_told(one, best, prompt, correct) for one in choice.candidates],
        }
    if not correct.get(best.index, True):
        return "the answer chosen is not the expected one"
    if not passed(selector, best):
        return f"no candidate passed {selector}: none has a score above 0"
    if keep == "best":
        if isinstance(prompt, ChatPrompt):
            return {"messages": [*_asked(prompt), _assistant(best)], "score": best.score}
        return {"prompt": _asked(prompt), "completion": best.text, "score": best.score}
    worst = _worst(choice, correct)
    if worst is None:
        return "no candidate is worse than the one chosen"
    return {
        "prompt": _asked(prompt),
        "chosen": _said(best, prompt),
        "rejected": _said(worst, prompt),
        "chosen_score": best.score,
        "rejected_score": worst.score,
    }


def _worst(choice: Choice, correct: Mapping[int, bool]) -> Candidate | None:
    """Return the candidate to reject: one that is wrong where that is known, then the one with the lowest score."""
    best = choice.best
    worse = [
        one
        for one in choice.candidates
        if one.reason not in ("cancelled", "error") and one.text != best.text and _below(one, best, correct)
    ]
    return min(worse, key=lambda one: (correct.get(one.index, False), _score(one)), default=None)


def _below(one: Candidate, best: Candidate, correct: Mapping[int, bool]) -> bool:
    if correct:
        return not correct.get(one.index, False)
    return _score(one) < _score(best)


def _score(candidate: Candidate) -> float:
    return float("-inf") if candidate.score is None else candidate.score


def _asked(prompt: Prompt) -> Any:
    if isinstance(prompt, ChatPrompt):
        return [{"role": message.role, "content": message.content} for message in prompt.messages]
    return prompt.text


def _assistant(candidate: Candidate) -> dict[str, str]:
    return {"role": "assistant", "content": candidate.text}


def _said(candidate: Candidate, prompt: Prompt) -> Any:
    return [_assistant(candidate)] if isinstance(prompt, ChatPrompt) else candidate.text


def _told(candidate: Candidate, best: Candidate, prompt: Prompt, correct: Mapping[int, bool]) -> dict[str, Any]:
    return {
        "completion": _said(candidate, prompt),
        "score": candidate.score,
        "logprob": candidate.logprob,
        "answer": candidate.answer,
        "finish_reason": candidate.reason,
        "selected": candidate is best,
        **({"correct": correct[candidate.index]} if candidate.index in correct else {}),
    }
