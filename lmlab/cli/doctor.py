"""``lmlab doctor``: what was found on this machine, and what is wrong with it. Knows nothing of how it is looked at."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.cli import report
from lmlab.cli.interrupt import first_interrupt
from lmlab.cli.load_options import LoadOptions
from lmlab.cli.models_complete import HERE_HELP, complete_here
from lmlab.cli.opener import local_backend
from lmlab.cli.options import grouped, option
from lmlab.cli.progress import Bars
from lmlab.cli.streams import Stdout
from lmlab.errors import UsageError
from lmlab.settings import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmlab.backends import LoadSpec, Status
    from lmlab.lab.doctor.finding import Finding

EXAMPLES = """[bold]Examples[/bold]

lmlab doctor

lmlab doctor --no-generate --json | jq '.findings[] | select(.level == "broken")'

lmlab doctor -m smollm2 --threads 1

lmlab doctor --online"""


@grouped
def doctor(
    *,
    model: Annotated[
        str | None,
        # No variable here: LMLAB_MODEL is what the default is found by.
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help=f"{HERE_HELP} Default: the one that is used when none is named.",
            autocompletion=complete_here,
        ),
    ] = None,
    no_generate: Annotated[bool, option("--no-generate", help="Load no model, and have none speak.")] = False,
    online: Annotated[
        bool, option("--online", help="Ask the model hub whether it answers; nothing else touches the network.")
    ] = False,
    as_json: Annotated[bool, option("--json", help="One JSON object in place of the lines.")] = False,
    quiet: Annotated[bool, option("--quiet", help="No progress on stderr.")] = False,
    no_color: Annotated[bool, option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
    load: LoadOptions,
    context: typer.Context,
) -> None:
    """Look at this machine and at lmlab on it: versions, processor, GPUs, memory, files, settings, models, sessions.

    At last a model that is here speaks for some seconds. Every line is ok, a note, a warning, or broken, and says what to do.
    The exit code is 1 when something is broken. Nothing is fetched and nothing is changed.
    """
    from lmlab.cli.doctor_lines import Lines
    from lmlab.lab.doctor.doctor import Examination
    from lmlab.lab.doctor.finding import worst
    from lmlab.lab.doctor.generation import SECTION as GENERATION
    from lmlab.lab.doctor.probe import Probe

    if no_color:
        os.environ["NO_COLOR"] = "1"
    spec, problem = _spec(load, context)
    paths, stdout, bars = Paths.find(), Stdout(), Bars(quiet)
    stopped: list[bool] = []
    examination = Examination(
        paths=paths,
        opener=local_backend(paths),
        spec=spec,
        kv_said=load.kv_type is not None,
        model=model,
        generate=not no_generate,
        online=online,
        probe=Probe(),
        surroundings=lambda: _surroundings(problem),
        on_status=lambda status: _show(bars, status),
        cancelled=lambda: bool(stopped),
    )
    lines, findings = Lines(stdout), []
    try:
        with first_interrupt(lambda: stopped.append(True)):
            for finding in examination.findings():
                bars.clear()
                findings.append(finding)
                if not as_json:
                    lines.add(finding)
                if finding.section == GENERATION:
                    bars.update("the model speaks", 0, None, patience=0)
    finally:
        bars.clear()
    if stopped:
        raise typer.Exit(report.INTERRUPTED)
    if as_json:
        stdout.json({"worst": worst(findings), "findings": [finding.to_dict() for finding in findings]})
    else:
        lines.end(findings)
    raise typer.Exit(report.FAILED if worst(findings) == "broken" else 0)


def _spec(load: LoadOptions, context: typer.Context) -> tuple[LoadSpec, UsageError | None]:
    """Return how to load, and what is wrong with the variables that say so. Raises UsageError for what was typed."""
    from lmlab.backends import LoadSpec

    try:
        return load.spec(), None
    except UsageError as error:
        sources = (context.get_parameter_source(field.name) for field in dataclasses.fields(LoadOptions))
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise
        return LoadSpec(path=""), error


def _surroundings(problem: UsageError | None) -> Iterator[Finding]:
    import typer.main

    from lmlab.cli.app import program
    from lmlab.cli.doctor_surroundings import terminal, variables

    # All commands: a variable may be an option of any.
    yield from variables(typer.main.get_command(program()), problem)
    yield from terminal()


def _show(bars: Bars, status: Status) -> None:
    from lmlab.backends import Loading

    if isinstance(status, Loading):
        bars.update("loading the model", status.fraction, 1)
