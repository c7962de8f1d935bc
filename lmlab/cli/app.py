"""The Typer application: which commands there are, and what becomes of a command line that is wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from lmlab import __version__
from lmlab.cli import batch, chat, compare, models, prompts, run, sessions
from lmlab.cli.help import Command, Group, Program, show_when_alone
from lmlab.cli.streams import Stdout
from lmlab.errors import UsageError
from lmlab.terminal_text import visible

app = typer.Typer(
    name="lmlab",
    cls=Program,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for local language models in the terminal.",
)
app.command("chat", cls=Command, epilog=chat.EXAMPLES)(chat.chat)
app.command("run", cls=Command, epilog=run.EXAMPLES)(run.run)
app.command("compare", cls=Command, epilog=compare.EXAMPLES)(compare.compare)
app.command("batch", cls=Command, epilog=batch.EXAMPLES)(batch.batch)
app.add_typer(models.app, name="models", cls=Group, epilog=models.EXAMPLES)
app.add_typer(prompts.app, name="prompts", cls=Group, epilog=prompts.EXAMPLES)
app.add_typer(sessions.app, name="sessions", cls=Group, epilog=sessions.EXAMPLES)


def _show_version(wanted: bool) -> None:
    if wanted:
        Stdout().line(f"lmlab {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def lmlab(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", metavar="", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    show_when_alone(context)


def run_command(arguments: list[str]) -> int:
    """Run the command that ``arguments`` name and return its exit code. Raises UsageError when they are wrong."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"this argument is not UTF-8 text: {visible(argument)}") from None
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="lmlab", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "lmlab"
        raise UsageError(f"{error.format_message().rstrip('.')}; see '{command} --help'") from None
    return code if isinstance(code, int) else 0
