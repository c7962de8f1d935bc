"""What came of one case for one variant, as the record's line has it. Knows nothing of how it was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmlab.backends import FinishReason
from lmlab.lab.best_of import Candidate


@dataclass(frozen=True, slots=True)
class Answer:
    """``variant`` is the column. ``asked`` is the prompt's text as this variant got it; ``input`` the row.

    ``answer`` was read off ``text``, ``correct`` compares it with ``expected``: None where there is none to compare.
    ``logprob`` is the mean log-probability of the reply's tokens, before any sampler. ``tokens`` are the reply's,
    ``drawn`` those of all ``candidates``; ``why`` says what spoke for the one that is the reply. Times in seconds.
    With ``reason`` error, ``error`` says why. Then, and when it was cancelled, ``text`` is as far as it came, and nothing was
    counted.
    """

    variant: int
    label: str
    run: str
    key: str
    question: str
    repeat: int
    id: str | None
    asked: str
    text: str
    reason: FinishReason
    input: Mapping[str, Any] | None = None
    answer: str | None = None
    expected: str | None = None
    correct: bool | None = None
    logprob: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0
    drawn: int = 0
    ttft_s: float | None = None
    tokens_per_s: float | None = None
    candidates: int = 1
    why: str = ""
    error: str | None = None
    error_type: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it came to an end of its own or of a limit, so that it can be weighed."""
        return self.reason not in ("cancelled", "error")

    def as_candidate(self) -> Candidate:
        """Return it as selectors see a reply; its index is the column."""
        return Candidate(self.variant, self.text, self.reason, (), self.logprob, self.answer)


def answer_of(line: Mapping[str, Any], variant: int) -> Answer:
    """Return the answer that a line of the record tells of; ``variant`` is the column of its run."""
    error = line.get("error")
    head: dict[str, Any] = {name: line[name] for name in ("run", "key", "question", "repeat", "id", "asked", "input")}
    head |= {"variant": variant, "label": line["variant"], "text": line.get("text") or ""}
    if error is not None:
        return Answer(**head, reason="error", error=error["message"], error_type=error["type"])
    if "usage" not in line:
        return Answer(**head, reason=line["finish_reason"])
    usage, timings, candidates = line["usage"], line["timings"], line["candidates"]
    best = candidates[line["selected"]]
    return Answer(
        **head,
        reason=line["finish_reason"],
        answer=line["answer"],
        expected=line.get("expected"),
        correct=line.get("correct"),
        logprob=best["logprob"],
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["cached_tokens"],
        tokens=best["tokens"],
        drawn=usage["completion_tokens"],
        ttft_s=timings["ttft_s"],
        tokens_per_s=timings["decode_tokens_per_s"],
        candidates=len(candidates),
        why=line["why"] or "",
    )
