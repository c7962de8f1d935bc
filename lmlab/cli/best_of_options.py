"""The options that draw several replies and keep one. Knows nothing of how they are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from lmlab.cli.options import option, whole_number
from lmlab.errors import UsageError
from lmlab.worker.messages import MOST_CANDIDATES

if TYPE_CHECKING:
    from lmlab.lab.best_of import SelectorSpec

_SELECTORS = (
    ("logprob", "the most probable"),
    ("vote", "the answer most give"),
    ("judge", "a model compares them: judge or judge:MODEL"),
    ("reward:", "a reward model scores them: reward:MODEL"),
    ("regex:", "one that matches: regex:PATTERN"),
    ("command:", "what a program makes of them: command:CMD"),
)


def complete_selector(incomplete: str) -> list[tuple[str, str]]:
    return [(name, help) for name, help in _SELECTORS if name.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class BestOfOptions:
    """How many replies are drawn, and which of them is kept."""

    best_of: Annotated[
        str | None,
        option(
            "--best-of",
            metavar="N",
            help=f"Draw N replies to one reading of the prompt and keep the best; up to {MOST_CANDIDATES}.",
            panel="Best of N",
        ),
    ] = None
    select: Annotated[
        str | None,
        option(
            "--select",
            metavar="S",
            help="What chooses: logprob (the most probable), vote (the answer most give), judge[:MODEL], reward:MODEL, "
            "regex:PATTERN, or command:CMD (reply on stdin; a number on the last line of stdout, or exit code 0, is the "
            "score). Default: logprob.",
            panel="Best of N",
            complete=complete_selector,
        ),
    ] = None

    def candidates(self) -> int:
        """Return how many replies to draw. Raises UsageError."""
        if self.best_of is None:
            if self.select is not None:
                raise UsageError(f"--select {self.select} chooses among candidates: say how many with --best-of N")
            return 1
        return whole_number("--best-of", self.best_of, 1, MOST_CANDIDATES) or 1

    def selector(self) -> SelectorSpec | None:
        """Return what chooses; None where one reply is drawn and nothing was named. Raises UsageError."""
        # Imported here: only a command that draws several needs it.
        from lmlab.lab.best_of import DEFAULT_SELECTOR, parse_selector

        if self.select is not None:
            return parse_selector(self.select)
        return DEFAULT_SELECTOR if self.candidates() > 1 else None
