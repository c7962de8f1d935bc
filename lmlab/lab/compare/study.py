"""A comparison from its cases to its report, with nobody watching: answers, marks, verdicts, divergence, in this order.

Each is kept as it is made, so that a study that was broken off goes on where it stopped. Knows nothing of how progress
or a report is shown.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lmlab import __version__
from lmlab.backends import Backend, LoadSpec, StatusSink
from lmlab.lab.batch.planning import SEQUENCES
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.comparison import Comparison, now
from lmlab.lab.compare.contender import describe
from lmlab.lab.compare.divergences import Text, measure_all
from lmlab.lab.compare.record import comparison_id
from lmlab.lab.compare.report import Report, Setup, make_report
from lmlab.lab.compare.series import Progress, Series
from lmlab.lab.compare.weighing import Answers, judge_all, score_all
from lmlab.lab.compare.workers import cores
from lmlab.lab.selector_models import SelectorModels
from lmlab.lab.selectors.judge_prompts import JUDGE_TEMPLATES, PAIR_TEMPLATE, Judge
from lmlab.models import ModelFile

if TYPE_CHECKING:
    from lmlab.worker.divergence.messages import Measuring, ModelLoading


@dataclass(frozen=True, slots=True)
class Drawn:
    """Of ``total`` answers some more are there."""

    progress: Progress
    total: int


@dataclass(frozen=True, slots=True)
class Weighing:
    """``done`` of at most ``total`` steps of ``what``."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Diverging:
    """The models of two variants are measured against each other."""

    names: str
    event: ModelLoading | Measuring


StudyEvent: TypeAlias = Drawn | Weighing | Diverging


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be found out. ``judge`` is a model's reference; ``text`` is what divergence is measured over.

    ``command`` and ``input`` say in words how it was asked and where the cases come from.
    """

    command: str
    input: str
    judge: str | None = None
    scorers: tuple[SelectorSpec, ...] = ()
    text: Text | None = None


class Study:
    """Run once. ``comparison`` is not open yet, and stays closed in the end; its record stays open.

    ``load`` says how the models of judges are loaded. ``listener`` is called on the thread that runs.
    """

    def __init__(
        self,
        comparison: Comparison,
        cases: Sequence[Case],
        asked: Asked,
        *,
        load: LoadSpec,
        resolve: Callable[[str], ModelFile],
        opener: Callable[[LoadSpec, StatusSink], Backend],
        template_folder: Path | None,
        log_folder: Path,
        listener: Callable[[StudyEvent], None],
    ) -> None:
        self.series = Series(comparison, cases, self._drawn)
        self._comparison = comparison
        self._cases = cases
        self._asked = asked
        self._load = replace(load, sequences=SEQUENCES)
        self._resolve = resolve
        self._opener = opener
        self._template_folder = template_folder
        self._log_folder = log_folder
        self._listener = listener
        self._cancelled = False

    def cancel(self) -> None:
        """Stop as soon as can be; what has been made is kept. May be called from a signal handler."""
        self._cancelled = True
        self.series.cancel()

    def run(self) -> Report | None:
        """Return the report; None when cancelled. Raises LmlabError when it cannot go on; what was made is kept."""
        asked, record = self._asked, self._comparison.record
        header = make_header(self._comparison, asked)
        identity = self._check_judge() if asked.judge is not None else None
        if self.series.missing:
            self._check_models()
        record.begin(header)
        if not self.series.run() or not self._weigh(identity):
            return None
        divergences: list[dict[str, Any]] = []
        if asked.text is not None:
            divergences = measure_all(
                self._comparison.contenders,
                asked.text,
                record,
                log_folder=self._log_folder,
                listener=lambda names, event: self._listener(Diverging(names, event)),
                cancelled=lambda: self._cancelled,
            )
        if self._cancelled:
            return None
        setup = Setup(
            header=header,
            record=str(record.path),
            judge=asked.judge,
            judged_by=identity,
            scorers=tuple(map(self._scorer_name, asked.scorers)),
        )
        return make_report(setup, self._cases, record, divergences)

    def _drawn(self, progress: Progress) -> None:
        self._listener(Drawn(progress, len(self._cases) * len(self._comparison.contenders)))

    def _models(self) -> SelectorModels:
        return SelectorModels(self._load, resolve=self._resolve, opener=self._opener)

    def _check_judge(self) -> str:
        """Return what names the judge's model and prompts. Raises LmlabError for a judge that cannot be asked."""
        from lmlab.prompting import Renderer, load

        assert self._asked.judge is not None
        model = self._resolve(self._asked.judge).fingerprint
        prints = [Renderer(load(name, self._template_folder)).fingerprint for name in JUDGE_TEMPLATES]
        text = " ".join((model, prints[JUDGE_TEMPLATES.index(PAIR_TEMPLATE)]))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _scorer_name(self, spec: SelectorSpec) -> str:
        """Return what a scorer's marks are kept under: with another model behind its name it is another scorer."""
        return str(spec) if spec.model is None else f"{spec} ({self._resolve(spec.model).fingerprint})"

    def _check_models(self) -> None:
        """Load once what judges and scores, before hours are spent on answers that it could not be asked about."""
        with closing(self._models()) as models:
            for ref, rank in self._refs():
                models.open(ref, rank)

    def _refs(self) -> Iterator[tuple[str, bool]]:
        if self._asked.judge is not None:
            yield self._asked.judge, False
        for spec in self._asked.scorers:
            if spec.model is not None:
                yield spec.model, spec.kind == "reward"

    def _weigh(self, identity: str | None) -> bool:
        """Have the answers marked and judged; return False when cancelled."""
        asked, record = self._asked, self._comparison.record
        answers = [[one for one in self._comparison.answered(case) if one is not None] for case in self._cases]
        with closing(self._models()) as models:
            for spec in asked.scorers:
                if self._cancelled:
                    return False
                score_all(
                    answers,
                    spec,
                    self._scorer_name(spec),
                    models.open,
                    record,
                    advanced=self._counted(f"marking by {spec}", answers),
                    cancelled=self._stop,
                )
            if asked.judge is not None and identity is not None and not self._cancelled:
                ref = asked.judge
                judge_all(
                    answers,
                    lambda: Judge(models.open(ref, False), self._template_folder),
                    ref,
                    identity,
                    record,
                    advanced=self._counted(f"judging by {asked.judge}", answers),
                    cancelled=self._stop,
                )
        return not self._cancelled

    def _stop(self) -> bool:
        return self._cancelled

    def _counted(self, what: str, answers: Sequence[Answers]) -> Callable[[], None]:
        done = 0
        each = len(self._comparison.contenders)
        total = len(answers) * (each * (each - 1) // 2 if what.startswith("judging") else 1)

        def advanced() -> None:
            nonlocal done
            done += 1
            self._listener(Weighing(what, done, total))

        return advanced


def make_header(comparison: Comparison, asked: Asked) -> dict[str, Any]:
    """Return what a record and a report say of a command: what it compares, with which versions, on what."""
    return {
        "id": comparison_id(one.run for one in comparison.contenders),
        "at": now(),
        "command": asked.command,
        "input": asked.input,
        "versions": {"lmlab": __version__, "Python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}, {cores()} cores",
        "variants": [describe(one) for one in comparison.contenders],
    }
