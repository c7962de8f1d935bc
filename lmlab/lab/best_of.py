"""Best of N: what ``--select`` names, and the selector that it opens.

``Gather`` folds the events of a request of N candidates; a ``Selector`` says when the rest are not needed, and chooses.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from lmlab.backends import Backend
from lmlab.errors import UsageError
from lmlab.lab.gather import Gather
from lmlab.lab.selectors.candidates import Candidate, Choice, Question, Selector
from lmlab.lab.selectors.likelihood import LogprobSelector
from lmlab.lab.selectors.vote import VoteSelector

__all__ = [
    "DEFAULT_SELECTOR",
    "SELECTORS",
    "Candidate",
    "Choice",
    "Gather",
    "Question",
    "Selector",
    "SelectorKind",
    "SelectorSpec",
    "open_selector",
    "parse_selector",
]

SelectorKind: TypeAlias = Literal["logprob", "vote", "judge", "reward", "regex", "command"]
_KINDS: tuple[SelectorKind, ...] = get_args(SelectorKind)

_SPELLED = {"judge": "judge[:MODEL]", "reward": "reward:MODEL", "regex": "regex:PATTERN", "command": "command:CMD"}


def _listed(kinds: Sequence[SelectorKind]) -> str:
    *most, last = (_SPELLED.get(kind, kind) for kind in kinds)
    return f"{', '.join(most)} or {last}"


SELECTORS = _listed(_KINDS)


@dataclass(frozen=True, slots=True)
class SelectorSpec:
    """A selector by name. ``argument`` is what follows the colon, empty when nothing does."""

    kind: SelectorKind
    argument: str = ""

    @property
    def model(self) -> str | None:
        """The model to open for it, if it names one."""
        return self.argument or None if self.kind in ("judge", "reward") else None

    @property
    def needs_answer(self) -> bool:
        """Whether it compares answers, so that a way to read them off a reply should be known."""
        return self.kind == "vote"

    def __str__(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


DEFAULT_SELECTOR = SelectorSpec("logprob")


def parse_selector(text: str, *, among: Sequence[SelectorKind] = _KINDS) -> SelectorSpec:
    """Return the selector that ``text`` names. Opens nothing. Raises UsageError that says what may be given: ``among``."""
    typed, colon, argument = text.partition(":")
    kind = next((kind for kind in among if kind == typed.strip().lower()), None)
    if kind is None:
        near = get_close_matches(typed.strip().lower(), among, n=1)
        raise UsageError(f"select {text}: {f'did you mean {near[0]}?' if near else f'give {_listed(among)}'}")
    if kind in ("logprob", "vote") and colon:
        raise UsageError(f"select {text}: {kind} takes nothing after it: write {kind}")
    if kind in ("judge", "reward"):
        argument = argument.strip()
    if kind == "judge" and colon and not argument:
        raise UsageError(f"select {text}: name a model, judge:MODEL, or leave out the colon: the model judges itself")
    if kind == "reward" and not argument:
        raise UsageError("select reward: name the reward model, reward:MODEL")
    if kind == "regex":
        _check_pattern(argument)
    if kind == "command" and not argument.strip():
        raise UsageError("select command: say which command, such as command:python3 tests.py")
    return SelectorSpec(kind, argument)


def open_selector(
    spec: SelectorSpec,
    *,
    own: Backend,
    open_model: Callable[[str, bool], Backend],
    template_folder: Path | None,
) -> Selector:
    """Return the selector, ready to choose.

    ``own`` judges where no model is named. ``open_model`` gives the backend of a named one, loaded to rank if its
    second argument is true; whoever gave it closes it. ``template_folder`` holds a person's own templates.
    """
    # Each brings in what only it needs: templates, processes.
    match spec.kind:
        case "logprob":
            return LogprobSelector()
        case "vote":
            return VoteSelector()
        case "judge":
            from lmlab.lab.selectors.judge import JudgeSelector

            backend = own if spec.model is None else open_model(spec.model, False)
            return JudgeSelector.open(str(spec), backend, template_folder)
        case "reward":
            from lmlab.lab.selectors.reward import RewardSelector

            return RewardSelector(str(spec), open_model(spec.argument, True))
        case "regex":
            from lmlab.lab.selectors.pattern import RegexSelector

            return RegexSelector(spec.argument)
        case "command":
            from lmlab.lab.selectors.command import CommandSelector

            return CommandSelector(spec.argument)


def _check_pattern(pattern: str) -> None:
    if not pattern:
        raise UsageError("select regex: give a pattern, such as regex:^[0-9]+$")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise UsageError(f"select regex:{pattern}: {error.msg}{where}") from None
    except (OverflowError, RecursionError) as error:
        raise UsageError(f"select regex:{pattern}: the pattern is too large: {error}") from None
