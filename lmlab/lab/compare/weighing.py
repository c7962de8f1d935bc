"""What the answers in a record are given marks by: scorers one by one, a judge in pairs. What is done is passed over.

Knows nothing of how answers were drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import combinations
from typing import TypeAlias

from lmlab.backends import Backend, Message
from lmlab.errors import PromptError, UsageError
from lmlab.lab.best_of import Question, Selector, SelectorKind, SelectorSpec, parse_selector
from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.record import Record, Score, Verdict
from lmlab.lab.selectors.judge_prompts import Judge
from lmlab.lab.selectors.likelihood import LogprobSelector

_SCORERS: tuple[SelectorKind, ...] = ("logprob", "reward", "regex", "command")
_WAIT_S = 0.2
# Each asks a model twice: so many keep an engine full.
_JUDGED_AT_ONCE = 8

Answers: TypeAlias = Sequence[Answer]
"""Those of one case, of all variants that have answered it."""


def parse_scorer(text: str) -> SelectorSpec:
    """Return what ``text`` names that gives each answer a mark of its own. Raises UsageError that says what may be given."""
    match text.partition(":")[0].strip().lower():
        case "vote":
            raise UsageError("--score vote: a vote needs several answers of one variant: give it best_of=N,select=vote")
        case "judge":
            raise UsageError(f"--score {text}: a judge compares answers in pairs: give --judge MODEL")
    try:
        return parse_selector(text, among=_SCORERS)
    except UsageError as error:
        raise UsageError(f"--score: {error}") from None


def open_scorer(spec: SelectorSpec, open_model: Callable[[str, bool], Backend]) -> Selector:
    """Return what marks answers one by one. ``open_model`` gives the backend of a model, to rank if told so."""
    # Each brings in what only it needs.
    match spec.kind:
        case "regex":
            from lmlab.lab.selectors.pattern import RegexSelector

            return RegexSelector(spec.argument)
        case "command":
            from lmlab.lab.selectors.command import CommandSelector

            return CommandSelector(spec.argument)
        case "reward":
            from lmlab.lab.selectors.reward import RewardSelector

            return RewardSelector(str(spec), open_model(spec.argument, True))
        case _:
            return LogprobSelector()


def score_all(
    cases: Iterable[Answers],
    spec: SelectorSpec,
    name: str,
    open_model: Callable[[str, bool], Backend],
    record: Record,
    *,
    advanced: Callable[[], None],
    cancelled: Callable[[], bool],
) -> None:
    """Have ``spec`` mark every answer that it has not marked yet. Raises LmlabError when it cannot mark at all.

    ``name`` is what the marks are kept under. A command may do something else than it did: it marks anew what it has
    marked before.
    """
    anew = spec.kind == "command"

    def unmarked(ended: Answers) -> bool:
        return bool(ended) and (anew or any((name, one.key, one.run) not in record.scores for one in ended))

    every = [[answer for answer in answers if answer.ended] for answers in cases]
    left = [ended for ended in every if unmarked(ended)]
    if not left:
        return
    selector = open_scorer(spec, open_model)
    jobs = iter([partial(_scores, selector, name, ended) for ended in left])
    _each(jobs, os.cpu_count() or 1, record, advanced, cancelled, selector.close)


def judge_all(
    cases: Iterable[Answers],
    open_judge: Callable[[], Judge],
    name: str,
    identity: str,
    record: Record,
    *,
    advanced: Callable[[], None],
    cancelled: Callable[[], bool],
) -> None:
    """Have the judge compare every pair of answers to one case, in both orders, that it has not compared yet.

    ``name`` is what a person calls it, ``identity`` names its model and prompts exactly.
    """

    left: list[tuple[Answer, Answer]] = []
    for answers in cases:
        for first, second in combinations([answer for answer in answers if answer.ended], 2):
            pairs = ((first.run, second.run), (second.run, first.run))
            if not any((identity, first.key, *pair) in record.verdicts for pair in pairs):
                left.append((first, second))
    if not left:
        return
    judge = open_judge()
    jobs = iter([partial(_verdict, judge, name, identity, first, second) for first, second in left])
    _each(jobs, _JUDGED_AT_ONCE, record, advanced, cancelled, judge.close)


def _scores(selector: Selector, name: str, ended: Answers) -> list[Score]:
    asked = ended[0].asked
    question = Question((Message("user", asked),), asked, lambda text: None, ended[0].expected)
    try:
        marked = selector.choose(question, [answer.as_candidate() for answer in ended]).candidates
    except UsageError:
        # A command that cannot be run marks no other answer either.
        raise
    except PromptError as error:
        return [_score(name, answer, None, str(error)) for answer in ended]
    by_column = {one.index: one for one in marked}
    return [_score(name, answer, by_column[answer.variant].score, by_column[answer.variant].note) for answer in ended]


def _score(name: str, answer: Answer, score: float | None, note: str) -> Score:
    return Score(name, answer.key, answer.question, answer.repeat, answer.run, score, note)


def _verdict(judge: Judge, name: str, identity: str, first: Answer, second: Answer) -> list[Verdict]:
    share: float | None
    asked, swayed, note = False, False, ""
    if first.text.strip() == second.text.strip():
        share, note = 0.5, "the same text: not asked"
    elif not first.text.strip() or not second.text.strip():
        share, note = float(bool(first.text.strip())), "one is empty: not asked"
    else:
        try:
            told = judge.compare(first.asked, [first.text, second.text])
        except PromptError as error:
            share, note = None, str(error)
        else:
            share, note = told.scores.get(first.text), told.notes.get(first.text, "")
            asked, swayed = True, told.swayed > 0
            if share is not None and not told.readable:
                share, note = None, "neither reply of the judge has a readable verdict"
    runs = (first.run, second.run)
    return [Verdict(name, identity, first.key, first.question, first.repeat, runs, share, asked, swayed, note)]


def _each(
    jobs: Iterator[Callable[[], Sequence[Score | Verdict]]],
    at_once: int,
    record: Record,
    advanced: Callable[[], None],
    cancelled: Callable[[], bool],
    stop: Callable[[], None],
) -> None:
    """Do the jobs, some at once, and write down what comes of each as it comes, on this thread."""
    pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="lmlab-weigh")
    running: set[Future[Sequence[Score | Verdict]]] = set()
    more = True
    try:
        while True:
            while more and not cancelled() and len(running) < at_once:
                job = next(jobs, None)
                if job is None:
                    more = False
                else:
                    running.add(pool.submit(job))
            if cancelled():
                stop()
                return
            if not running:
                return
            done, running = wait(running, timeout=_WAIT_S, return_when=FIRST_COMPLETED)
            for future in done:
                for thing in future.result():
                    record.add(thing)
                advanced()
    finally:
        stop()
        pool.shutdown(wait=False, cancel_futures=True)
