"""What can be typed after a command, as groups of options that commands share, and the values they become.

A command takes a group as one parameter; ``grouped`` shows Typer the options in it one by one. A flag beats its
environment variable (``LMLAB_`` and the long name), which beats the config file. Knows nothing of what the values do.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import typer

from lmlab.cli.complete import complete_model, complete_preset
from lmlab.errors import UsageError
from lmlab.sampling import BY_NAME, DEFAULTS, SamplingParams, recommended
from lmlab.settings import Paths

# What a model would recommend that recommends all it can.
_RECOMMENDABLE = recommended(lambda key: 1).to_dict()


Completion: TypeAlias = Callable[[str], list[tuple[str, str]]]


def words(*choices: str) -> Completion:
    """Return what offers those of ``choices`` that begin as what is typed."""
    return lambda incomplete: [(word, "") for word in choices if word.startswith(incomplete)]


def lines_of(variable: str) -> list[str]:
    """Return the lines of an environment variable that stands for a repeatable option."""
    return [line for line in os.environ.get(variable, "").splitlines() if line]


def whole_number(name: str, text: str | None, least: int, most: int | None = None, *, also: str = "") -> int | None:
    """Return the whole number that ``text`` spells, None for None. Raises UsageError; ``also`` may be given, too."""
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or (most is not None and value > most):
        span = f"of {least} or more" if most is None else f"from {least} to {most}"
        # A name that ends in a colon is one with its value.
        typed = f"{name}{text}" if name.endswith(":") else f"{name} {text}"
        raise UsageError(f"{typed}: give {also}a whole number {span}")
    return value


def option(
    *names: str,
    help: str,
    metavar: str = "",
    panel: str | None = None,
    complete: Completion | None = None,
    beaten_by: str | None = None,
) -> Any:
    """Return a Typer option that may also be set by ``LMLAB_<NAME>`` for each of its long names; a flag has no metavar.

    Its variable counts for nothing where the option of the parameter ``beaten_by`` is typed, which says the same.
    """
    variables = ["LMLAB_" + name[2:].replace("-", "_").upper() for name in names if name.startswith("--")]
    return typer.Option(
        *names,
        help=help,
        metavar=metavar,
        envvar=variables,
        show_envvar=False,
        rich_help_panel=panel,
        autocompletion=complete,
        callback=None if beaten_by is None else _beaten_by(beaten_by),
    )


def _beaten_by(other: str) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    def beaten(context: typer.Context, own: typer.CallbackParam, value: str | None) -> str | None:
        # What is typed is read before what is only in the environment.
        typed = [name for name in (own.name, other) if name and _source(context, name) == "COMMANDLINE"]
        return None if typed == [other] else value

    return beaten


def _source(context: typer.Context, name: str) -> str | None:
    source = context.get_parameter_source(name)
    return None if source is None else source.name


def _sampling(name: str, *names: str, metavar: str) -> Any:
    parameter = BY_NAME[name]
    default = getattr(DEFAULTS, name)
    unless = " unless the model recommends another" if name in _RECOMMENDABLE else ""
    usual = f" Default: {default:g}{unless}." if default is not None else ""
    return option(*names, help=parameter.help + usual, metavar=metavar, panel="Sampling")


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn. Texts as typed: the sampling parameters know their own ranges."""

    preset: Annotated[
        str | None,
        option(
            "--preset",
            metavar="NAME",
            help="Draw as a preset does: greedy, precise, balanced, creative, or one of your own, which /preset save "
            "in a chat keeps. The options below go over it.",
            panel="Sampling",
            complete=complete_preset,
        ),
    ] = None
    temperature: Annotated[str | None, _sampling("temperature", "--temp", "--temperature", metavar="X")] = None
    top_k: Annotated[str | None, _sampling("top_k", "--top-k", metavar="K")] = None
    top_p: Annotated[str | None, _sampling("top_p", "--top-p", metavar="P")] = None
    min_p: Annotated[str | None, _sampling("min_p", "--min-p", metavar="P")] = None
    repeat_penalty: Annotated[str | None, _sampling("repeat_penalty", "--repeat-penalty", metavar="X")] = None
    repeat_last_n: Annotated[str | None, _sampling("repeat_last_n", "--repeat-last-n", metavar="N")] = None
    presence_penalty: Annotated[str | None, _sampling("presence_penalty", "--presence-penalty", metavar="X")] = None
    frequency_penalty: Annotated[str | None, _sampling("frequency_penalty", "--frequency-penalty", metavar="X")] = None
    seed: Annotated[str | None, _sampling("seed", "--seed", metavar="N")] = None
    max_tokens: Annotated[str | None, _sampling("max_tokens", "-n", "--max-tokens", "--n-predict", metavar="N")] = None
    stop: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a stop text may well hold one.
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End the reply before this text. Repeatable; in LMLAB_STOP one text a line.",
            rich_help_panel="Sampling",
        ),
    ] = None

    def params(self) -> SamplingParams:
        """Return what was asked for, the preset below the rest. Raises SamplingError that names the range, UsageError for
        a preset that there is not.
        """
        numbers = {name: BY_NAME[name].parse(text) for name in BY_NAME if (text := getattr(self, name)) is not None}
        stop = self.stop or lines_of("LMLAB_STOP")
        asked = SamplingParams.from_dict({**numbers, **({"stop": tuple(stop)} if stop else {})})
        if self.preset is None:
            return asked
        from lmlab.lab.presets import Presets

        return asked.merge(Presets(Paths.find().presets).get(self.preset).sampling)


@dataclass(frozen=True, slots=True)
class GeneralOptions:
    """How lmlab itself behaves."""

    quiet: Annotated[bool, option("--quiet", help="No notices and no progress on stderr; errors stay.")] = False
    offline: Annotated[bool, option("--offline", help="Use only model files that are already here.")] = False
    no_color: Annotated[bool, option("--no-color", help="No colours; NO_COLOR does the same.")] = False

    def apply(self) -> None:
        """Make ``--no-color`` known to every library that draws: they all read NO_COLOR."""
        if self.no_color:
            os.environ["NO_COLOR"] = "1"


MODEL_HELP = (
    "A path, a name such as smollm2, hf:owner/repo[:QUANT], pypi:package or ollama:name[:tag]. "
    "Default: LMLAB_MODEL, else the config file's, else the one used last, else smollm2."
)
ModelOption = Annotated[
    str | None,
    # No variable here: LMLAB_MODEL is read where a model that nobody named is looked for.
    typer.Option("-m", "--model", metavar="MODEL", help=MODEL_HELP, autocompletion=complete_model),
]
SystemOption = Annotated[
    str | None, option("--system", metavar="TEXT", help="The system message: how the model should behave.")
]


@dataclass(frozen=True, slots=True)
class TextOptions:
    """What goes with a prompt, and whether it is a chat."""

    system: SystemOption = None
    raw: Annotated[bool, option("--raw", help="Continue the text as it is, without the model's chat template.")] = False
    parse_special: Annotated[
        bool, option("--parse-special", help="With --raw: special tokens in the text are special, not plain text.")
    ] = False


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` as Typer can read it: each parameter that is an option group replaced by its options."""
    hints = typing.get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if not dataclasses.is_dataclass(kind):
            parameters.append(parameter.replace(annotation=kind))
            continue
        options = typing.get_type_hints(kind, include_extras=True)
        groups[parameter.name] = (hints[parameter.name], list(options))
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=options[name], default=field.default)
            for name, field in ((field.name, field) for field in dataclasses.fields(kind))
        ]

    def call(**values: Any) -> None:
        built = {group: kind(**{name: values.pop(name) for name in names}) for group, (kind, names) in groups.items()}
        command(**built, **values)

    # KEYWORD_ONLY throughout: Typer passes everything by name, and the order is the one of the help page.
    plain = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    call.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in plain}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call
