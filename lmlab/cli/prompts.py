"""``lmlab prompts``: the prompt templates there are, what one becomes, what is wrong with one. Generates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmlab.backends import Loading, Message
from lmlab.cli import prompt_text, report
from lmlab.cli.complete import complete_model, complete_template
from lmlab.cli.help import Command, show_when_alone
from lmlab.cli.opener import local_backend
from lmlab.cli.options import GeneralOptions, grouped, option
from lmlab.cli.progress import Bars
from lmlab.cli.prompt_options import ApproachOptions
from lmlab.cli.streams import Stdout
from lmlab.errors import LmlabError, PromptError, UsageError
from lmlab.lab.prompt_view import PromptView, Sharing, ViewEvent, Viewing
from lmlab.models import Progress
from lmlab.settings import Config, Paths, load_config

if TYPE_CHECKING:
    from lmlab.prompting import Rendered, Renderer

EXAMPLES = """[bold]Examples[/bold]

lmlab prompts list

lmlab prompts show summarize > my-summary.md

lmlab prompts check my-summary.md

lmlab prompts render translate --var to=French --var text=@letter.txt

lmlab prompts render word-problem --var question=@q.txt --technique few-shot-cot -m smollm2"""

_NAME_HELP = "A template's name, or a file."
Name = Annotated[str, typer.Argument(metavar="NAME", help=_NAME_HELP, autocompletion=complete_template)]

_OWN = (
    "Templates of your own are files such as mine.md in the prompts folder of LMLAB_HOME, or anywhere when given by path. "
    "Begin one with lmlab prompts show sentiment > mine.md, and try it with lmlab prompts check mine.md."
)
app = typer.Typer(help=f"List, show, render or check prompt templates.\n\n{_OWN}")
app.callback(invoke_without_command=True)(show_when_alone)


@app.command("list", cls=Command)
def list_templates(
    as_json: Annotated[bool, option("--json", help="A JSON array in place of the table.")] = False,
) -> None:
    """List the prompt templates: those that come with lmlab, and your own.

    On a terminal as a table, anywhere else as a header and lines whose fields are separated by tabs. An input that may be
    left out ends in ?; the text that lmlab run is given, or stdin, is the one other input that --var does not give.

    Your own are files in the prompts folder of LMLAB_HOME; one of the same name as another goes first. Begin one with
    lmlab prompts show sentiment > mine.md.
    """
    from lmlab.cli import prompt_table
    from lmlab.prompting import known_templates, load_template

    own = Paths.find().prompts
    rows = []
    for name, path in known_templates(own).items():
        try:
            rows.append(prompt_table.Row(name, path, path.parent == own, load_template(path)))
        except LmlabError as error:
            # One that is broken hides no other.
            report.say_error(error)
    stdout = Stdout()
    if as_json:
        stdout.json([row.to_dict() for row in rows])
    elif stdout.terminal:
        stdout.write(prompt_table.table(rows))
    else:
        stdout.write(prompt_table.tab_separated(rows))
    if stdout.terminal and any(row.own for row in rows):
        report.write_line(f"lmlab: * is your own, in {own}")


@app.command("show", cls=Command)
def show(
    name: Name,
    as_json: Annotated[bool, option("--json", help="What was read, as one JSON object.")] = False,
) -> None:
    """Print a template's file as it is, also one that is broken: then stderr says how."""
    from lmlab.prompting import find_template, load_template, read_text

    path = find_template(name, Paths.find().prompts)
    if as_json:
        Stdout().json({**load_template(path).to_dict(), "path": str(path)})
    else:
        Stdout().write(read_text(path))
        try:
            load_template(path)
        except PromptError as error:
            report.write_line(f"lmlab: this template is broken: {error}")


@app.command("check", cls=Command)
def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Files, or names of templates.", autocompletion=complete_template),
    ],
) -> None:
    """Say everything that is wrong with prompt template files: a line each, with the file's name and line.

    Also what would only show in use: an example whose answer is not read back, a rendering that fails.
    """
    from lmlab.prompting import check_file, find_template

    stdout = Stdout()
    bad = 0
    for name in files:
        path = find_template(name, Paths.find().prompts)
        try:
            problems = [f"{path}, line {problem.line}: {problem.message}" for problem in check_file(path)]
        except UsageError as error:
            problems = [str(error)]
        for problem in problems:
            stdout.line(problem)
        bad += bool(problems)
    if bad:
        report.write_line(f"lmlab: {_files(bad)} of {len(files)} {'has' if bad == 1 else 'have'} problems")
        raise typer.Exit(report.FAILED)
    report.write_line(f"lmlab: {_files(len(files))} {'is' if len(files) == 1 else 'are'} fine")


@app.command("render", cls=Command)
@grouped
def render(
    *,
    name: Name,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help="Show the final text that this model gets, and count its tokens. None is opened without.",
            autocompletion=complete_model,
        ),
    ] = None,
    as_json: Annotated[bool, option("--json", help="One JSON object in place of the text.")] = False,
    approach: ApproachOptions,
    general: GeneralOptions,
) -> None:
    """Show what a template becomes: the exact messages for a chat model, or the text for a base model.

    Also shows where the part ends that every prompt made like this shares: the inputs that are required count as
    different in each, others given with --var as the same in all. With -m it is counted in tokens.
    """
    general.apply()
    paths = Paths.find()
    config = load_config(paths.config)
    renderer, rendered = _rendered(name, approach, paths)
    system = (Message("system", config.system),) if config.system else ()
    messages = (*system, *rendered.messages)
    sharing = Sharing(len(system) + rendered.shared_messages, rendered.shared_in_message, rendered.shared_characters)
    view = None if model is None else _view(model, messages, rendered.text, sharing, paths, config, general)
    stdout = Stdout()
    if as_json:
        stdout.json(prompt_text.to_dict(renderer, rendered, messages, sharing, view))
        return
    if view is None or view.chat:
        stdout.write(prompt_text.messages_text(messages, sharing, view))
    if view is not None:
        stdout.write(prompt_text.final_text(rendered, view))
    elif not general.quiet:
        report.write_line("lmlab: -m MODEL shows the final text and counts tokens; --json has a base model's text, too")


def _rendered(name: str, approach: ApproachOptions, paths: Paths) -> tuple[Renderer, Rendered]:
    from lmlab.prompting import Renderer, load

    template = load(name, paths.prompts)
    given = approach.variables()
    row = {key: given.pop(key) for key, needed in template.inputs.items() if needed.required and key in given}
    renderer = Renderer(template, approach.approach(), given)
    return renderer, renderer.render(row)


def _view(
    ref: str,
    messages: tuple[Message, ...],
    text: str,
    sharing: Sharing,
    paths: Paths,
    config: Config,
    general: GeneralOptions,
) -> PromptView:
    bars = Bars(general.quiet)

    def show(event: ViewEvent) -> None:
        match event:
            case Progress(label, done, total):
                bars.update(label, done, total, size=True, patience=0)
            case Loading(fraction):
                bars.update("loading the model", fraction, 1)
            case _:
                bars.clear()

    viewing = Viewing(
        ref=ref, paths=paths, config=config, opener=local_backend(paths), listener=show, offline=general.offline
    )
    try:
        return viewing.look(messages, text, sharing)
    finally:
        bars.clear()


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
