"""``lmlab compare``: variants side by side, on the screen or in a report. Knows which of the two, and nothing of either."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.batch import RowOptions, wanted_of
from lmlab.cli.best_of_options import BestOfOptions
from lmlab.cli.compare_options import ReportOptions, WeighingOptions
from lmlab.cli.compare_screen import CompareScreen
from lmlab.cli.complete import complete_model
from lmlab.cli.constraint_options import ConstraintOptions, constraint_named
from lmlab.cli.interrupt import endings_raised, first_interrupt
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.opener import local_backend
from lmlab.cli.options import GeneralOptions, SamplingOptions, TextOptions, grouped, lines_of, option
from lmlab.cli.prompt_options import PromptOptions
from lmlab.cli.streams import is_terminal
from lmlab.errors import LmlabError, UsageError
from lmlab.settings import Paths, expanded, load_config

if TYPE_CHECKING:
    from lmlab.backends import LoadSpec
    from lmlab.lab.batch.plan import Plan
    from lmlab.lab.batch.row import BadRow, Row
    from lmlab.lab.best_of import SelectorSpec
    from lmlab.lab.compare.comparison import Comparison
    from lmlab.lab.compare.divergences import Text
    from lmlab.lab.compare.record import Record
    from lmlab.lab.compare.report import Report
    from lmlab.lab.compare.workers import Opening
    from lmlab.lab.model_slot import Opener
    from lmlab.lab.tuning.using import SavedSettings
    from lmlab.models import ModelFile

EXAMPLES = """[bold]Examples[/bold]

lmlab compare smollm2 gemma3-270m

lmlab compare smollm2@temperature=0 smollm2@temperature=1,label=hot -p "Name a colour" --plain

lmlab compare smollm2@technique=zero-shot smollm2@technique=few-shot -t word-problem -i problems.jsonl --report few.html

lmlab compare a.gguf b.gguf -i questions.txt --judge judge.gguf --repeat 3 --report r.html --report r.json

lmlab compare model-q8.gguf model-q4.gguf --kl text.txt

lmlab compare smollm2 gemma3-270m -i questions.txt --blind"""

_FAILED = 3


@dataclass(frozen=True, slots=True)
class ScreenOptions:
    """How it is run."""

    prompt: Annotated[
        list[str] | None,
        # Click would split the variable at every space.
        typer.Option(
            "-p",
            "--prompt",
            metavar="PROMPT",
            help="Put this to every variant. Repeatable; in LMLAB_PROMPT one a line.",
            rich_help_panel="Rows",
        ),
    ] = None
    plain: Annotated[bool, option("--plain", help="No screen: answer every prompt, then print a table.")] = False
    sequential: Annotated[
        bool, option("--sequential", help="Hold one model at a time: less memory, and each has all cores.")
    ] = False
    as_json: Annotated[bool, option("--json", help="The whole report as one JSON object in place of the table.")] = (
        False
    )

    def prompts(self) -> list[str]:
        return self.prompt or lines_of("LMLAB_PROMPT")


@grouped
def compare(
    *,
    variants: Annotated[
        list[str],
        typer.Argument(
            metavar="VARIANT...",
            help="2 to 4 of them: MODEL, with settings of its own if wanted, MODEL@temperature=0.2,technique=cot.",
            autocompletion=complete_model,
        ),
    ],
    screen: ScreenOptions,
    rows: RowOptions,
    weighing: WeighingOptions,
    results: ReportOptions,
    prompting: PromptOptions,
    best_of: BestOfOptions,
    text: TextOptions,
    sampling: SamplingOptions,
    constraints: ConstraintOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Put the same prompts to several variants, and say which is better.

    On a terminal they answer side by side, and you vote. Elsewhere, and with --plain, --report, --json or anything that
    weighs answers for you, every prompt is answered by every variant, and a table says what came of it. What is done is
    kept: the same command goes on. Without --seed the seed is 0.
    """
    from lmlab.lab.batch.planning import SEED
    from lmlab.lab.compare.contender import plan_all
    from lmlab.lab.variant import parse_variant
    from lmlab.models import resolve

    general.apply()
    paths = Paths.find()
    config = load_config(paths.config)
    params, spec = sampling.params(), load.spec()
    headless = _is_headless(screen, weighing, results)
    if weighing.blind and headless:
        raise UsageError("--blind is for votes on the screen: leave out --plain and what weighs answers, on a terminal")
    scorers, repeats, measured, reports = weighing.scorers(), weighing.repeats(), weighing.text(), results.reports()
    wanted = wanted_of(config, params, prompting, best_of, text, constraints.constraint(), spec, weighing.expect)
    seed = params.seed if params.seed is not None and params.seed >= 0 else SEED
    with closing(CompareScreen(general.quiet)) as shown, endings_raised():

        def find(ref: str | None) -> ModelFile:
            return resolve(ref, paths=paths, config=config, offline=general.offline, progress=shown.fetching)

        asked = tuple(parse_variant(variant) for variant in variants)
        plans = plan_all(asked, wanted, resolve=find, template_folder=paths.prompts)
        saved = load.saved(paths, shown.say)
        plans = tuple(replace(plan, load=saved.results_over(plan.load)) for plan in plans)
        shown.about_plans(plans, repeats)
        found = _rows(screen, rows, seed, headless=headless, needed=measured is None)
        job = _Job(plans, spec, saved, paths, shown, find, screen.sequential, results, _place(screen, rows))
        if headless:
            raise typer.Exit(
                job.study(found, weighing.judge, scorers, repeats, measured, reports, as_json=screen.as_json)
            )
        raise typer.Exit(job.show(found, blind=weighing.blind, theme=config.theme))


def _is_headless(screen: ScreenOptions, weighing: WeighingOptions, results: ReportOptions) -> bool:
    asked = screen.plain or screen.as_json or results.reports() or weighing.needs_no_person
    # stderr too: it is what Textual draws on.
    terminals = all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))
    return bool(asked) or not terminals or os.environ.get("TERM") == "dumb"


def _rows(screen: ScreenOptions, rows: RowOptions, seed: int, *, headless: bool, needed: bool) -> list[Row | BadRow]:
    """Return the prompts, from the command line and from the input. Raises UsageError where some are needed and none are there.

    A comparison is weighed whole, so they are held in memory.
    """
    from lmlab.lab.compare.case import typed_row

    found: list[Row | BadRow] = [typed_row(text, number) for number, text in enumerate(screen.prompts(), 1)]
    chosen = rows.chosen(seed)
    piped = rows.input == "-" and not is_terminal(sys.stdin) and sys.stdin is not None
    if rows.input != "-" or (piped and not found and needed):
        with closing(rows.source()) as source:
            found += chosen(source)
    if headless and needed and not found:
        raise UsageError("no prompts: give one with -p PROMPT, a file of them with -i FILE, or pipe them in")
    return found


def _place(screen: ScreenOptions, rows: RowOptions) -> str:
    """Return in words where the prompts come from."""
    typed = "the command line" if screen.prompts() else ""
    read = rows.input if rows.input != "-" else "" if typed else "the keyboard" if is_terminal(sys.stdin) else "stdin"
    return " and ".join(part for part in (typed, read) if part)


@dataclass(frozen=True, slots=True)
class _Job:
    """A comparison that is ready to begin."""

    plans: tuple[Plan, ...]
    spec: LoadSpec
    saved: SavedSettings
    paths: Paths
    screen: CompareScreen
    find: Callable[[str | None], ModelFile]
    sequential: bool
    results: ReportOptions
    input: str

    def study(
        self,
        rows: Iterable[Row | BadRow],
        judge: str | None,
        scorers: tuple[SelectorSpec, ...],
        repeats: int,
        text: Text | None,
        reports: tuple[tuple[Path, str], ...],
        *,
        as_json: bool,
    ) -> int:
        """Answer and weigh everything, print what came of it, and return the exit code."""
        from lmlab.lab.compare.case import cases
        from lmlab.lab.compare.study import Asked, Study

        with ExitStack() as stack:
            record = stack.enter_context(closing(self._record()))
            opener = self.saved.opener(local_backend(self.paths))
            comparison = stack.enter_context(closing(self._comparison(record, opener, self.screen.opening)))
            study = Study(
                comparison,
                tuple(cases(rows, repeats)),
                Asked(_command(), self.input, judge, scorers, text),
                load=self.spec,
                resolve=self.find,
                opener=opener,
                template_folder=self.paths.prompts,
                log_folder=self.paths.logs,
                listener=self.screen.show,
            )
            with first_interrupt(study.cancel), constraint_named(self.plans[0].task.constraint):
                found = study.run()
            self.screen.close()
            return self._conclude(found, study.series.progress.found, record, reports, as_json=as_json)

    def show(self, rows: Iterable[Row | BadRow], *, blind: bool, theme: str | None) -> int:
        """Open the screen, and return the exit code."""
        from lmlab.lab.compare.case import cases
        from lmlab.lab.compare.study import Asked, make_header
        from lmlab.tui.compare import run_compare

        # What is written on stderr now would be written across the screen.
        opener = self.saved.opener(local_backend(self.paths), tell=False)
        with closing(self._record()) as record:

            def make(listener: Callable[[Opening], None]) -> Comparison:
                comparison = self._comparison(record, opener, listener)
                record.begin(make_header(comparison, Asked(_command(), self.input)))
                return comparison

            self.screen.close()
            return run_compare(make, cases(rows), blind=blind, theme=theme, history=self.paths.history)

    def _record(self) -> Record:
        from lmlab.lab.compare.record import Record, comparison_id

        runs = [plan.fingerprint() for plan in self.plans]
        output = self.results.output
        path = self.paths.comparisons / f"{comparison_id(runs)}.jsonl" if output is None else expanded(output)
        record = Record(path, runs)
        self.screen.about_record(record)
        return record

    def _comparison(self, record: Record, opener: Opener, listener: Callable[[Opening], None]) -> Comparison:
        from lmlab.lab.compare.comparison import Comparison

        return Comparison(
            self.plans,
            record=record,
            opener=opener,
            resolve=self.find,
            template_folder=self.paths.prompts,
            listener=listener,
            sequential=self.sequential,
        )

    def _conclude(
        self, found: Report | None, before: int, record: Record, reports: tuple[tuple[Path, str], ...], *, as_json: bool
    ) -> int:
        say, stdout = self.screen.say, self.screen.stdout
        if found is None:
            say(f"interrupted: the same command goes on from here; what is done is in {record.path}")
            return report.INTERRUPTED
        if as_json:
            stdout.json(found.to_dict())
        else:
            from lmlab.lab.compare.text import text_lines

            for line in text_lines(found):
                stdout.line(line)
        for path, kind in reports:
            _write(path, _layout(found, kind))
        if before:
            say(f"{before:,} of the answers were there from before")
        say(f"answers and what was said of them are kept in {record.path}")
        for figures, label in zip(found.figures, found.labels, strict=True):
            if figures.failed:
                count = "1 answer" if figures.failed == 1 else f"{figures.failed:,} answers"
                say(f"{label}: {count} failed: {figures.first_failure}")
        if not found.prompts and found.divergences and all(line["figures"] is None for line in found.divergences):
            return report.FAILED
        return _FAILED if found.failed else 0


def _layout(found: Report, kind: str) -> Iterator[str]:
    match kind:
        case "html":
            from lmlab.lab.compare.html import html_lines

            return html_lines(found)
        case "markdown":
            from lmlab.lab.compare.markdown import markdown_lines

            return markdown_lines(found)
        case _:
            return iter((json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False, indent=2),))


def _write(path: Path, lines: Iterable[str]) -> None:
    try:
        # Half a character can only be in JSON, where this is how it is written.
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise LmlabError(
            f"cannot write {path}: {error.strerror}; every answer is kept: run the same command again"
        ) from None


def _command() -> str:
    """Return what was typed, and the variables that took part, as a shell reads it."""
    taking_part = {name: value for name, value in os.environ.items() if name.startswith("LMLAB_")}
    taking_part.pop("LMLAB_HOME", None)
    before = [f"{name}={shlex.quote(value)}" for name, value in sorted(taking_part.items())]
    return " ".join([*before, "lmlab", *map(shlex.quote, sys.argv[1:])])
