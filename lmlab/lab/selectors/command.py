"""``command:CMD``: a program of the person's own scores each candidate."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

from lmlab.errors import LmlabError, UsageError
from lmlab.lab.selectors.candidates import Candidate, Choice, Question, best_scored, by_text, conclude, contenders
from lmlab.lab.selectors.shell import Outcome, Shell
from lmlab.terminal_text import one_line

LIMIT_S = 10.0
"""Longest that a command may take for one candidate."""

# What sh says of a command that cannot be run or is not there, and cmd on Windows.
_NOT_RUN = (126, 127, 9009)
# Windows holds no longer ones, Linux none much longer.
_LONGEST_VARIABLE = 32_000
_NOTE = 160


class CommandSelector:
    """Runs CMD by the shell (``sh -c``; ``cmd /c`` on Windows) in the current folder, once for each different text.

    The text is on its stdin as UTF-8; ``LMLAB_CANDIDATE`` is the candidate's index and ``LMLAB_ANSWER`` the answer read
    off it, if there is one of at most 32,000 characters. The score is the number on the last line of stdout, if there
    is one; else 1 for exit code 0 and 0 for any other. Where some candidates get a number, those without one have no
    score: 1 would mean nothing beside 250. One that takes longer than the limit is ended and has failed. All that it
    started ends with it. As many run at once as there are cores. Of equals, the most probable.
    """

    blocking = True

    def __init__(self, command: str, limit_s: float = LIMIT_S) -> None:
        self.name = f"command:{command}"
        self._command = command
        self._shell = Shell(command, limit_s)
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="command")

    def settled(self, ended: Sequence[Candidate], total: int) -> bool:
        return len(ended) >= total

    def choose(self, question: Question, candidates: Sequence[Candidate]) -> Choice:
        pool = contenders(candidates)
        groups = list(by_text(pool).values())
        try:
            outcomes = list(self._pool.map(self._run, [group[0] for group in groups]))
        # What a pool says that was closed before and after it was given the work.
        except (RuntimeError, CancelledError):
            raise LmlabError("the selector was closed") from None
        numbers = [_number(outcome) for outcome in outcomes]
        numeric = any(number is not None for number in numbers)
        scores: dict[int, float] = {}
        notes: dict[int, str] = {}
        for group, outcome, number in zip(groups, outcomes, numbers, strict=True):
            score = number if numeric else float(outcome.code == 0)
            for one in group:
                notes[one.index] = _note(outcome, numeric and number is None)
                if score is not None:
                    scores[one.index] = score
        best = best_scored(pool, scores)
        return conclude(self.name, candidates, best, _why(best, pool, scores, numeric), scores, notes)

    def close(self) -> None:
        self._shell.close()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, candidate: Candidate) -> Outcome:
        answer = candidate.answer
        if answer is not None and (len(answer) > _LONGEST_VARIABLE or "\0" in answer):
            answer = None
        outcome = self._shell.run(candidate.text, {"LMLAB_CANDIDATE": str(candidate.index), "LMLAB_ANSWER": answer})
        if outcome.code in _NOT_RUN:
            said = one_line(outcome.stderr, _NOTE) or "it cannot be run"
            raise UsageError(
                f"select {self.name}: {said} (exit code {outcome.code}): correct the command; "
                "if what it runs may end so, append || exit 1"
            )
        return outcome


def _number(outcome: Outcome) -> float | None:
    """Return the number that the last line of output is; what is no finite number is none.

    What printed one and was then ended, by the limit or a signal, has failed all the same.
    """
    if outcome.code is None or outcome.code < 0:
        return None
    lines = outcome.stdout.strip().splitlines()
    try:
        value = float(lines[-1]) if lines else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _note(outcome: Outcome, without_number: bool) -> str:
    if outcome.code is None:
        said = f"took over {outcome.limit_s:g} s and was ended"
    elif outcome.code < 0:
        said = f"ended by signal {-outcome.code}"
    else:
        said = f"exit code {outcome.code}" if outcome.code or without_number else ""
    if without_number:
        said += ", printed no number"
    last = outcome.stderr.strip().splitlines()[-1:]
    return ": ".join(part for part in (said, *(one_line(line, _NOTE) for line in last)) if part)


def _why(best: Candidate, pool: list[Candidate], scores: dict[int, float], numeric: bool) -> str:
    level = len(by_text(one for one in pool if scores.get(one.index) == scores.get(best.index)))
    likely = ": the most probable of them" if level > 1 else ""
    if numeric:
        return f"the highest score of {len(pool)}: {scores[best.index]:g}{likely}"
    passed = sum(score > 0 for score in scores.values())
    if not passed:
        return f"the command failed for all {len(pool)}: the most probable" if len(pool) > 1 else "the command failed"
    return f"the command passed {passed} of {len(pool)}{likely}"
