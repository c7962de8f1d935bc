"""``lmlab batch``: a file of prompts in, one JSON line each out. Knows nothing of how rows are answered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.batch_screen import BatchScreen
from lmlab.cli.best_of_options import BestOfOptions
from lmlab.cli.complete import complete_model
from lmlab.cli.constraint_options import ConstraintOptions, constraint_named
from lmlab.cli.interrupt import endings_raised, first_interrupt
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.opener import local_backend
from lmlab.cli.options import (
    GeneralOptions,
    SamplingOptions,
    TextOptions,
    grouped,
    lines_of,
    option,
    whole_number,
    words,
)
from lmlab.cli.prompt_options import PromptOptions
from lmlab.cli.streams import is_terminal, own_stdin
from lmlab.errors import UsageError
from lmlab.settings import Paths, expanded, load_config

if TYPE_CHECKING:
    from lmlab.backends import Constraint, LoadSpec
    from lmlab.lab.batch.plan import Plan
    from lmlab.lab.batch.planning import Wanted
    from lmlab.lab.batch.rows import BadRow, Row, RowSource, Where
    from lmlab.lab.tuning.using import SavedSettings
    from lmlab.lab.variant import Variant
    from lmlab.models import ModelFile
    from lmlab.sampling import SamplingParams
    from lmlab.settings import Config

EXAMPLES = """[bold]Examples[/bold]

lmlab batch -i questions.txt -o answers.jsonl

lmlab batch -i reviews.csv -o labels.jsonl -t sentiment --technique few-shot --expect label

cat letters.jsonl | lmlab batch -i - -t summarize | jq -r .text

lmlab batch -i problems.jsonl -o votes.jsonl -t word-problem --technique cot --best-of 5 --select vote

lmlab batch -i problems.jsonl -o both.jsonl -t word-problem -m smollm2@technique=zero-shot -m smollm2@technique=few-shot

lmlab batch -i tasks.jsonl -o train.jsonl -t code --best-of 8 --select 'command:python3 check.py' --keep best

lmlab batch -i reviews.csv -t sentiment --where lang=en --sample 100 --dry-run"""

_FAILED_ROWS = 3


def source_is(source: RowSource, path: Path) -> bool:
    """Whether rows are read from the file at ``path``."""
    return source.place != "-" and path.samefile(source.place)


@dataclass(frozen=True, slots=True)
class RowOptions:
    """Which rows are done."""

    input: Annotated[
        str,
        option(
            "-i",
            "--input",
            metavar="FILE",
            help="JSONL, CSV, TSV, or text with a prompt a line; - is stdin.",
            panel="Rows",
        ),
    ] = "-"
    format: Annotated[
        str | None,
        option(
            "--format",
            metavar="FORMAT",
            help="jsonl, csv, tsv or text. Default: by the file's ending.",
            panel="Rows",
            complete=words("jsonl", "csv", "tsv", "text"),
        ),
    ] = None
    where: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a value may well hold one.
        typer.Option(
            "--where",
            metavar="COL=VALUE",
            help="Only rows with this value; COL!=VALUE and COL~REGEX too. Repeatable: all must hold; in LMLAB_WHERE one a line.",
            rich_help_panel="Rows",
        ),
    ] = None
    sample: Annotated[
        str | None, option("--sample", metavar="N", help="N rows drawn at random, by --seed.", panel="Rows")
    ] = None
    limit: Annotated[str | None, option("--limit", metavar="N", help="The first N rows.", panel="Rows")] = None

    def source(self) -> RowSource:
        from lmlab.lab.batch.rows import RowSource, parse_format

        place = self.input if self.input == "-" else str(expanded(self.input))
        if place == "-" and is_terminal(sys.stdin):
            raise UsageError("no rows: name a file with -i FILE, or pipe them in")
        return RowSource(place, parse_format(self.format) if self.format else None, stdin=own_stdin())

    def conditions(self) -> tuple[Where, ...]:
        """Return what rows must hold. Raises UsageError."""
        from lmlab.lab.batch.rows import parse_where

        return tuple(parse_where(text) for text in self.where or lines_of("LMLAB_WHERE"))

    @property
    def most(self) -> int | None:
        """How many rows there are at most; None when only the input knows."""
        sample, limit = whole_number("--sample", self.sample, 1), whole_number("--limit", self.limit, 1)
        return min((number for number in (sample, limit) if number is not None), default=None)

    @property
    def all(self) -> bool:
        """Whether no row of the input is left out."""
        return not (self.where or lines_of("LMLAB_WHERE") or self.sample or self.limit)

    def chosen(self, seed: int) -> Callable[[RowSource], Iterable[Row | BadRow]]:
        """Return what reads the rows that were asked for from a source, from its beginning. Raises UsageError at once."""
        from lmlab.lab.batch import rows

        sample, limit = whole_number("--sample", self.sample, 1), whole_number("--limit", self.limit, 1)
        conditions = self.conditions()

        def read(source: RowSource) -> Iterable[Row | BadRow]:
            found: Iterable[Row | BadRow] = rows.where_rows(rows.read_rows(source), conditions)
            if sample is not None:
                found = rows.sample(found, sample, seed)
            return islice(found, limit)

        return read


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where results go, and in which shape."""

    output: Annotated[
        str | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the lines go. The same command again goes on where it stopped. Default: stdout.",
            panel="Results",
        ),
    ] = None
    ordered: Annotated[
        bool, option("--ordered", help="Lines in the order of the rows, not as they are done.", panel="Results")
    ] = False
    force: Annotated[
        bool, option("--force", help="Write to an output that holds other lines too; they stay.", panel="Results")
    ] = False
    expect: Annotated[
        str | None,
        option(
            "--expect",
            metavar="COL",
            help="The column with the expected answer, for templates that check it. "
            "Default: expected, answer or label, whichever there is.",
            panel="Results",
        ),
    ] = None
    keep: Annotated[
        str | None,
        option(
            "--keep",
            metavar="best|all|pairs",
            help="Write training data: the best candidate of --best-of as a conversation, all with their scores, or "
            "chosen and rejected pairs. A candidate that is wrong or did not pass is not kept.",
            panel="Results",
            complete=words("best", "all", "pairs"),
        ),
    ] = None
    retries: Annotated[
        str | None,
        option(
            "--retries", metavar="K", help="Try a row that the engine failed K times more. Default: 1.", panel="Results"
        ),
    ] = None
    dry_run: Annotated[
        bool,
        option("--dry-run", help="Answer nothing: render all rows, count tokens, estimate the time.", panel="Results"),
    ] = False


@grouped
def batch(
    *,
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--model",
            metavar="VARIANT",
            help="A model, with settings of its own if wanted: MODEL@temperature=0.2,technique=cot. Repeatable: each row "
            "is done by every variant.",
            autocompletion=complete_model,
        ),
    ] = None,
    rows: RowOptions,
    results: OutputOptions,
    prompting: PromptOptions,
    best_of: BestOfOptions,
    text: TextOptions,
    as_json: Annotated[
        bool, option("--json", help="The summary at the end as one JSON object, on stdout with -o.")
    ] = False,
    sampling: SamplingOptions,
    constraints: ConstraintOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Answer a file of prompts, or of inputs to a template, one JSON line a row.

    Nothing done is lost or done twice: after a crash, a kill or Ctrl-C the same command goes on. Without --seed the
    seed is 0, and each row has its own that follows from it.
    """
    from lmlab.lab.batch.planning import SEED, make_plans
    from lmlab.models import resolve

    general.apply()
    paths = Paths.find()
    config = load_config(paths.config)
    params = sampling.params()
    wanted = wanted_of(
        config, params, prompting, best_of, text, constraints.constraint(), load.spec(), results.expect, results.keep
    )
    chosen = rows.chosen(params.seed if params.seed is not None and params.seed >= 0 else SEED)
    # Ended by a signal, it must still close its output and end its workers.
    with closing(BatchScreen(general.quiet, as_json, rows.most)) as screen, endings_raised():

        def find(ref: str | None) -> ModelFile:
            return resolve(ref, paths=paths, config=config, offline=general.offline, progress=screen.fetching)

        plans = make_plans(_variants(variants), wanted, resolve=find, template_folder=paths.prompts)
        saved = load.saved(paths, screen.say)
        plans = tuple(replace(plan, load=saved.results_over(plan.load)) for plan in plans)
        screen.about_plans(plans)
        with closing(rows.source()) as source:
            job = _Job(plans, source, chosen, rows.conditions(), rows.all, results, paths, screen, find, saved)
            raise typer.Exit(job.try_out() if results.dry_run else job.run())


def wanted_of(
    config: Config,
    params: SamplingParams,
    prompting: PromptOptions,
    best_of: BestOfOptions,
    text: TextOptions,
    constraint: Constraint | None,
    spec: LoadSpec,
    expect: str | None,
    keep: str | None = None,
) -> Wanted:
    """Return what holds for every variant that does not say otherwise. Raises UsageError."""
    from lmlab.lab.batch.planning import Wanted
    from lmlab.lab.batch.training import parse_keep

    candidates, selector = best_of.candidates(), best_of.selector()
    # A variant may draw several where the others draw one.
    several = best_of.best_of is not None
    return Wanted(
        sampling=params,
        below=config.sampling,
        load=spec,
        template=prompting.template,
        variables=prompting.variables(),
        approach=prompting.approach(),
        system=text.system,
        default_system=config.system,
        raw=text.raw,
        parse_special=text.parse_special,
        constraint=constraint,
        best_of=candidates if several else None,
        select=selector if several else None,
        keep=parse_keep(keep) if keep is not None else None,
        expect=expect,
    )


def _variants(texts: list[str] | None) -> tuple[Variant, ...]:
    """Return what was named; the default model when nothing was."""
    from lmlab.lab.variant import Variant, parse_variant

    return tuple(map(parse_variant, texts)) if texts else (Variant(None, ""),)


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch that is ready to begin."""

    plans: tuple[Plan, ...]
    source: RowSource
    chosen: Callable[[RowSource], Iterable[Row | BadRow]]
    conditions: tuple[Where, ...]
    all_rows: bool
    results: OutputOptions
    paths: Paths
    screen: BatchScreen
    find: Callable[[str | None], ModelFile]
    saved: SavedSettings

    def rows(self) -> Iterable[Row | BadRow]:
        return self.chosen(self.source)

    def run(self) -> int:
        """Answer the rows and return the exit code."""
        from lmlab.lab.batch.output import Output
        from lmlab.lab.batch.runner import BatchRun

        results, screen = self.results, self.screen
        retries = whole_number("--retries", results.retries, 0)
        path = expanded(results.output) if results.output is not None else None
        if results.force and path is None:
            raise UsageError("--force writes to a file that holds other lines: name it with -o FILE")
        if path is not None and path.exists() and source_is(self.source, path):
            raise UsageError(f"-i and -o are the same file, {path}: write the results to another")
        again = len({plan.load for plan in self.plans}) > 1 or (results.ordered and path is not None)
        if again:
            if results.ordered and path is None:
                raise UsageError("--ordered with several models needs a file: name one with -o")
            self.source.spool()
        self._check_columns()
        runs = [plan.fingerprint() for plan in self.plans]
        with Output.open(path, runs, force=results.force, stdout=screen.stdout.write) as output:
            screen.about_output(output)
            if self.all_rows:
                # What failed is tried again; a row that is gone from the input leaves no old failure behind.
                output.forget_failed()
            run = BatchRun(
                self.plans,
                rows=self.rows,
                output=output,
                opener=self.saved.opener(local_backend(self.paths)),
                resolve=self.find,
                listener=lambda event: screen.show(event, run, self.source.size),
                ordered=results.ordered,
                retries=1 if retries is None else retries,
                at_once=self.source.rewindable,
                template_folder=self.paths.prompts,
            )
            with first_interrupt(run.cancel), constraint_named(self.plans[0].task.constraint):
                summary = run.run()
        screen.conclude(summary, results.output, self.all_rows, results.expect)
        if summary.interrupted:
            return report.INTERRUPTED
        return _FAILED_ROWS if summary.total.failed else 0

    def _check_columns(self) -> None:
        """Raise UsageError for a column that is named and that no row has, before a model is loaded for nothing.

        A stream is not read ahead: there, ``--where`` says so at its end.
        """
        if self.source.rewindable:
            from lmlab.lab.batch.rows import check_columns, read_rows

            named = {"--expect": self.results.expect} if self.results.expect is not None else {}
            check_columns(read_rows(self.source), self.conditions, named)

    def try_out(self) -> int:
        """Say what the run would take, and return the exit code."""
        from lmlab.lab.batch.dry_run import DryRun

        self.source.spool()
        self._check_columns()
        run = DryRun(
            self.plans,
            rows=self.rows,
            opener=self.saved.opener(local_backend(self.paths)),
            listener=lambda event: self.screen.show_dry(event, self.source.size),
        )
        with first_interrupt(run.cancel), constraint_named(self.plans[0].task.constraint):
            estimates = run.run()
        if estimates is None:
            return report.INTERRUPTED
        self.screen.conclude_dry(estimates)
        return _FAILED_ROWS if any(estimate.failed for estimate in estimates) else 0
