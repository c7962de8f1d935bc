"""``lmlab bench``: how fast models are on this machine. Knows what to ask for, and nothing of how it is measured."""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.bench_screen import BenchScreen
from lmlab.cli.bench_tune_options import TuneOptions
from lmlab.cli.complete import complete_model
from lmlab.cli.interrupt import endings_raised, first_interrupt
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.options import GeneralOptions, grouped, option, whole_number, words
from lmlab.cli.streams import Stdout
from lmlab.errors import LmlabError, UsageError
from lmlab.settings import Paths, load_config

if TYPE_CHECKING:
    from lmlab.lab.bench.against import Comparison
    from lmlab.lab.bench.amounts import Amounts
    from lmlab.lab.bench.history import History
    from lmlab.lab.bench.report import Report, Result
    from lmlab.lab.bench.subject import Subject
    from lmlab.models import ModelFile

EXAMPLES = """[bold]Examples[/bold]

lmlab bench smollm2

lmlab bench smollm2 gemma3-270m --quick

lmlab bench smollm2@label=own smollm2@lora=style.gguf --depths 0,2048

lmlab bench smollm2 --threads 1 --against last

lmlab bench --history

lmlab bench --tune smollm2

lmlab bench --tune smollm2 --objective decode --allow kv --max-time 600"""

_MEASURING, _RESULTS = "Measuring", "Results"
_MOST_REPEATS = 1000
_MOST_TOKENS = 1 << 20
_MOST_TOGETHER = 64
_FAILED = 3


@dataclass(frozen=True, slots=True)
class MeasureOptions:
    """What is measured, and how often."""

    quick: Annotated[
        bool, option("--quick", help="Less of everything, and twice only: for a first look.", panel=_MEASURING)
    ] = False
    repeat: Annotated[
        str | None,
        option(
            "--repeat",
            metavar="K",
            help="Measure everything K times, the variants in turns. Default: 3.",
            panel=_MEASURING,
        ),
    ] = None
    max_time: Annotated[
        str | None,
        option("--max-time", metavar="S", help="End after so many seconds with what there is.", panel=_MEASURING),
    ] = None
    prefill: Annotated[
        str | None,
        option("--prefill", metavar="N", help="Tokens of prompt read at a time. Default: 512.", panel=_MEASURING),
    ] = None
    decode: Annotated[
        str | None,
        option("--decode", metavar="N", help="Tokens written by one sequence. Default: 64.", panel=_MEASURING),
    ] = None
    depths: Annotated[
        str | None,
        option(
            "--depths",
            metavar="N,...",
            help="After how many tokens of context both are measured. Default: 0,1024,4096.",
            panel=_MEASURING,
        ),
    ] = None
    together: Annotated[
        str | None,
        option(
            "--together",
            metavar="N,...",
            help="How many sequences are decoded at once. Default: 1,2,4,8,16.",
            panel=_MEASURING,
        ),
    ] = None

    def amounts(self) -> Amounts:
        """Return how much is measured. Raises UsageError."""
        from lmlab.lab.bench.amounts import QUICK, Amounts

        usual = QUICK if self.quick else Amounts()
        return replace(
            usual,
            repeat=whole_number("--repeat", self.repeat, 1, _MOST_REPEATS) or usual.repeat,
            prompt=whole_number("--prefill", self.prefill, 1, _MOST_TOKENS) or usual.prompt,
            decode=whole_number("--decode", self.decode, 1, _MOST_TOKENS) or usual.decode,
            depths=_numbers("--depths", self.depths, 0, _MOST_TOKENS) or usual.depths,
            together=_numbers("--together", self.together, 1, _MOST_TOGETHER) or usual.together,
        )

    def most_s(self) -> float | None:
        return whole_number("--max-time", self.max_time, 1)


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What becomes of the figures."""

    as_json: Annotated[
        bool, option("--json", help="One JSON object with every run in place of the table.", panel=_RESULTS)
    ] = False
    as_csv: Annotated[bool, option("--csv", help="Comma-separated lines in place of the table.", panel=_RESULTS)] = (
        False
    )
    against: Annotated[
        str | None,
        option(
            "--against",
            metavar="last|ID|FILE",
            help="Compare with an earlier benchmark: the last one of these variants, one by its id, or a file that --json "
            "wrote.",
            panel=_RESULTS,
            complete=words("last"),
        ),
    ] = None
    history: Annotated[
        bool, option("--history", help="List the benchmarks kept, and measure nothing.", panel=_RESULTS)
    ] = False

    def check(self) -> None:
        if self.as_json and self.as_csv:
            raise UsageError("--json and --csv are both in place of the table: give one of them")
        if self.history and self.against is not None:
            raise UsageError("--history measures nothing, so there is nothing to compare: leave out --against")


@grouped
def bench(
    *,
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VARIANT",
            help="Up to 4, measured in turns: MODEL, or with settings of its own, MODEL@ctx=4096,lora=FILE. "
            "Default: the model that is used when none is named.",
            autocompletion=complete_model,
        ),
    ] = None,
    measuring: MeasureOptions,
    results: ResultOptions,
    tuning: TuneOptions,
    load: LoadOptions,
    general: GeneralOptions,
) -> None:
    """Measure how fast models read and write on this machine, and what memory they take.

    The model alone, as llama-bench has it: reading a prompt, writing at several depths, several sequences at once. Then the
    whole program: how long until the first token of a question never seen, of the next one, and of one after a restart.
    Beside decoding stands what the measured bandwidth of memory allows. Every figure is the median of all runs, with the
    least and the most. What is found is kept: see --against and --history.
    """
    from lmlab.lab.bench.history import History

    general.apply()
    results.check()
    tuning.check()
    amounts, most_s = measuring.amounts(), measuring.most_s()
    if tuning.tune:
        _check_alone(measuring, results)
        from lmlab.cli.bench_tune import tune

        raise typer.Exit(tune(variants or [], tuning, load, general, seconds=most_s, as_json=results.as_json))
    paths = Paths.find()
    history = History(paths.benchmarks)
    if results.history:
        if variants:
            raise UsageError(f"--history lists every benchmark kept: leave out {' '.join(variants)}")
        _list(history, results)
        return
    with closing(BenchScreen(general.quiet)) as screen, endings_raised():
        subjects = _subjects(variants or [], load, general, paths, screen)
        # Before the minutes that measuring takes.
        before = None
        if results.against is not None:
            from lmlab.lab.bench.against import check_comparable

            labels = [subject.label for subject in subjects]
            before = history.find(results.against, labels)
            check_comparable(labels, before)
        found, interrupted = _measure(subjects, amounts, most_s, paths, screen)
        if found is None:
            raise typer.Exit(report.INTERRUPTED)
        comparison = None
        if before is not None:
            from lmlab.lab.bench.against import compare_reports

            comparison = compare_reports(found, before)
        screen.close()
        _show(found, comparison, results)
        history.append(found)
        screen.about(found, comparison)
    if interrupted:
        raise typer.Exit(report.INTERRUPTED)
    raise typer.Exit(_FAILED if any(result.failed for result in found.results) else 0)


def _check_alone(measuring: MeasureOptions, results: ResultOptions) -> None:
    """Raise UsageError for what --tune does not heed."""
    if replace(measuring, max_time=None) != MeasureOptions():
        raise UsageError("--tune sees itself how much to measure: of how much to measure, say --max-time only")
    if replace(results, as_json=False) != ResultOptions():
        raise UsageError("--tune compares with nothing that is kept, and prints no CSV: say --json or nothing")


def _subjects(
    variants: list[str], load: LoadOptions, general: GeneralOptions, paths: Paths, screen: BenchScreen
) -> tuple[Subject, ...]:
    from lmlab.lab.bench.subject import subjects
    from lmlab.lab.variant import Variant, parse_variant
    from lmlab.models import resolve

    config = load_config(paths.config)

    def find(ref: str | None) -> ModelFile:
        return resolve(ref, paths=paths, config=config, offline=general.offline, progress=screen.fetching)

    asked = tuple(parse_variant(variant) for variant in variants) or (Variant(None, ""),)
    found = subjects(asked, load.spec(), resolve=find, saved=load.saved(paths, screen.say).over)
    screen.about_models(found)
    return found


def _measure(
    subjects: tuple[Subject, ...], amounts: Amounts, most_s: float | None, paths: Paths, screen: BenchScreen
) -> tuple[Report | None, bool]:
    """Return what was found, None when interrupted before anything was; and whether it was interrupted.

    Raises LmlabError that says why nothing was found.
    """
    from lmlab.lab.bench.bench import Bench

    measurement = Bench(subjects, amounts, log_folder=paths.logs, listener=screen.show, most_s=most_s)
    with first_interrupt(measurement.cancel):
        results = measurement.run()
    if not any(result.figures for result in results):
        if measurement.cancelled:
            return None, True
        if failed := [result for result in results if result.failed]:
            raise LmlabError("; ".join(f"{result.label}: {result.notes[-1]}" for result in failed))
        if most_s is not None:
            raise LmlabError(f"nothing was measured within {most_s:g} s: give more to --max-time, or measure less")
        raise UsageError("; ".join(f"{result.label}: {note}" for result in results for note in result.notes))
    return _report(results, amounts, complete=measurement.complete), measurement.cancelled


def _report(results: tuple[Result, ...], amounts: Amounts, *, complete: bool) -> Report:
    import secrets
    from datetime import datetime

    from lmlab.lab.bench.machine import this_machine, versions
    from lmlab.lab.bench.report import Report

    return Report(
        id=secrets.token_hex(4),
        when=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=shlex.join(["lmlab", *sys.argv[1:]]),
        machine=this_machine(),
        versions=versions(str(results[0].load["llama_cpp"])),
        amounts=amounts,
        results=results,
        complete=complete,
    )


def _show(found: Report, comparison: Comparison | None, results: ResultOptions) -> None:
    from lmlab.cli import bench_table

    stdout = Stdout()
    if results.as_json:
        stdout.json({**found.to_dict(), "against": None if comparison is None else comparison.to_dict()})
    elif results.as_csv or not stdout.terminal:
        stdout.write(bench_table.separated(found, comparison, "," if results.as_csv else "\t"))
    else:
        from lmlab.cli import bench_chart

        stdout.write(bench_table.text(found))
        stdout.write(bench_chart.text(found, sys.stdout.encoding))
        if comparison is not None:
            stdout.write(bench_table.comparison(comparison))


def _list(history: History, results: ResultOptions) -> None:
    from lmlab.cli import bench_table

    found, damaged = history.all()
    stdout = Stdout()
    if results.as_json:
        stdout.json([one.to_dict() for one in found])
    elif results.as_csv or not stdout.terminal:
        stdout.write(bench_table.history_separated(found, "," if results.as_csv else "\t"))
    elif found:
        stdout.write(bench_table.history(found))
    if not found:
        report.write_line("lmlab: no benchmark is kept yet: lmlab bench makes one")
    if damaged:
        lines = "1 line" if damaged == 1 else f"{damaged} lines"
        report.write_line(f"lmlab: left out {lines} of {history.path}: damaged, or written by another lmlab")


def _numbers(name: str, text: str | None, least: int, most: int) -> tuple[int, ...]:
    """Return the numbers of a list with commas, each once and in order; none for None. Raises UsageError."""
    if text is None:
        return ()
    found = {whole_number(name, part.strip(), least, most) for part in text.split(",")}
    return tuple(sorted(number for number in found if number is not None))
