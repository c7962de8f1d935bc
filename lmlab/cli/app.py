"""The Typer application: which commands there are, and what becomes of a command line that is wrong."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from lmlab import __version__
from lmlab.cli.help import Command, Group, Program, show_when_alone
from lmlab.cli.streams import Stdout
from lmlab.errors import UsageError
from lmlab.terminal_text import visible

_COMMANDS = ("chat", "run", "compare", "batch", "bench", "doctor")
_GROUPS = ("models", "prompts", "sessions")


def _show_version(wanted: bool) -> None:
    if wanted:
        Stdout().line(f"lmlab {__version__}")
        raise typer.Exit


def _lmlab(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", metavar="", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    show_when_alone(context)


def program(first: str | None = None) -> typer.Typer:
    """Return the application with the command ``first`` alone, when it is one: only that is imported then. Else with all."""
    app = typer.Typer(
        name="lmlab",
        cls=Program,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        help="A laboratory for local language models in the terminal.",
    )
    app.callback(invoke_without_command=True)(_lmlab)
    for name in (*_COMMANDS, *_GROUPS) if first not in (*_COMMANDS, *_GROUPS) else (first,):
        module = importlib.import_module(f"lmlab.cli.{name}")
        if name in _GROUPS:
            app.add_typer(module.app, name=name, cls=Group, epilog=module.EXAMPLES)
        else:
            app.command(name, cls=Command, epilog=module.EXAMPLES)(getattr(module, name))
    return app


def run_command(arguments: list[str]) -> int:
    """Run the command that ``arguments`` name and return its exit code. Raises UsageError when they are wrong."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"this argument is not UTF-8 text: {visible(argument)}") from None
    try:
        code = typer.main.get_command(program(arguments[0] if arguments else None)).main(
            args=arguments, prog_name="lmlab", standalone_mode=False
        )
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "lmlab"
        said = error.format_message().rstrip(".")
        raise UsageError(f"{said}{' See' if said.endswith('?') else '; see'} '{command} --help'") from None
    return code if isinstance(code, int) else 0
