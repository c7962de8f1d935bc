"""How help pages look: no types beside the names, and where the config file is. Knows nothing of any command."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from lmlab.settings import Paths
from lmlab.terminal_text import visible


class Command(TyperCommand):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Typer would keep the line ends of a docstring, at any width of the terminal.
        if self.help:
            self.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in self.help.split("\n\n"))

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class Program(Group):
    """The group at the top."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # Here and not where the program is put together: looking for the path takes time, and who runs it needs none.
        from rich.markup import escape

        self.epilog = (
            f"Config file: {escape(visible(str(Paths.find().config)))}\n\n"
            "Every option can also be set by a variable, LMLAB_<OPTION>, such as LMLAB_TOP_K=20. "
            "LMLAB_HOME moves all of lmlab's files."
        )
        super().format_help(ctx, formatter)


def show_when_alone(context: typer.Context) -> None:
    """The callback of a group: named without a command, it shows its help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _without_types(params: list[Any]) -> list[Any]:
    """Return ``params`` such that Typer shows no ``<bool>`` beside a flag and no ``<str>`` beside an argument's name."""
    for param in params:
        if isinstance(param, TyperArgument):
            param.display_type_rich = _no_type  # type: ignore[method-assign]
        elif param.metavar is None and param.is_flag:
            param.metavar = ""
    return params


def _no_type(ctx: Any) -> str | None:
    return None
