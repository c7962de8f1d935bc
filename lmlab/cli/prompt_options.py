"""The options that say which prompt template is used, and how. Knows nothing of what a template does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmlab.cli.complete import complete_template
from lmlab.cli.options import Completion, lines_of, option, whole_number, words
from lmlab.errors import UsageError
from lmlab.settings import Paths, expanded

if TYPE_CHECKING:
    from lmlab.prompting import Approach, Renderer

_PANEL = "Prompt template"
# As in lmlab.prompting, which is slow to import.
_TECHNIQUES = ("zero-shot", "few-shot", "cot", "few-shot-cot")
_STYLES = ("turns", "inline")
_PICKS = ("order", "random", "nearest")
_MOST = 999_999_999


def _template(*names: str, help: str, metavar: str, complete: Completion | None = None) -> Any:
    return option(*names, help=help, metavar=metavar, panel=_PANEL, complete=complete)


# No slots: two classes with slots have no child in common.
@dataclass(frozen=True)
class TemplateOption:
    """Which template."""

    template: Annotated[
        str | None,
        _template(
            "-t",
            "--template",
            metavar="NAME|FILE",
            help="A prompt template: a name that lmlab prompts list shows, or a file.",
            complete=complete_template,
        ),
    ] = None


@dataclass(frozen=True)
class ApproachOptions:
    """How a template is put."""

    var: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a value may well hold one.
        typer.Option(
            "--var",
            metavar="NAME=TEXT",
            help="An input of the template; NAME=@FILE takes it from a file, NAME=@@TEXT begins with @. "
            "Line ends become \\n. Repeatable; in LMLAB_VAR one a line. The text of a prompt or of stdin is the one input "
            "that must be given and is not.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    technique: Annotated[
        str | None,
        _template(
            "--technique",
            metavar="|".join(_TECHNIQUES),
            help="Show worked examples (few-shot), ask for reasoning (cot), both, or neither. Default: the template's.",
            complete=words(*_TECHNIQUES),
        ),
    ] = None
    shots: Annotated[
        str | None,
        _template("--shots", metavar="K", help="How many examples are shown. Default: the template's, else up to 4."),
    ] = None
    pick: Annotated[
        str | None,
        _template(
            "--pick",
            metavar="order|random[:SEED]|nearest",
            help="Which examples: the first, some at random (the same for every prompt; SEED is 0 unless given), "
            "or those nearest to the input. Default: order.",
            complete=words(*_PICKS),
        ),
    ] = None
    style: Annotated[
        str | None,
        _template(
            "--style",
            metavar="turns|inline",
            help="For a chat model, examples as turns of their own or inside one message, which then ends in what the reply "
            "goes on from, such as Sentiment:. Default: the template's.",
            complete=words(*_STYLES),
        ),
    ] = None

    def approach(self) -> Approach:
        """Return how the template is put. Raises UsageError that says what may be given."""
        from lmlab.prompting import Approach

        pick, colon, seed = (self.pick or "order").partition(":")
        if colon and pick != "random":
            raise UsageError(f"--pick {self.pick}: only random takes a seed")
        return Approach(
            technique=_one_of("--technique", self.technique, _TECHNIQUES),
            shots=whole_number("--shots", self.shots, 0, _MOST),
            pick=_one_of("--pick", pick, _PICKS),
            pick_seed=whole_number("--pick random:", seed if colon else None, 0, _MOST) or 0,
            style=_one_of("--style", self.style, _STYLES),
        )

    def variables(self) -> dict[str, str]:
        """Return the inputs that were given; which there are, the template knows. Raises UsageError."""
        found: dict[str, str] = {}
        for text in self.var or lines_of("LMLAB_VAR"):
            name, equals, value = text.partition("=")
            if not equals:
                raise UsageError(f"--var {text}: write NAME=TEXT, or NAME=@FILE for what is in a file")
            if name in found:
                raise UsageError(f"--var {name} is given twice: give it once")
            found[name] = _value(name, value).replace("\r\n", "\n").replace("\r", "\n")
        return found

    def named(self) -> str | None:
        """Return an option of these that was given, if any was."""
        return next((f"--{name}" for name in _OF_APPROACH if getattr(self, name) not in (None, [])), None)


_OF_APPROACH = ("var", "technique", "shots", "pick", "style")


@dataclass(frozen=True)
class PromptOptions(ApproachOptions, TemplateOption):
    """Which template, and how it is put."""

    def renderer(self, paths: Paths) -> Renderer | None:
        """Return what renders the template; None when none was asked for. Raises UsageError or PromptError."""
        if self.template is not None:
            # Imported here: few commands render a template, and what does is slow to import.
            from lmlab.prompting import Renderer, load

            return Renderer(load(self.template, paths.prompts), self.approach(), self.variables())
        if given := self.named():
            raise UsageError(f"{given} is about a prompt template: name one with -t, such as -t summarize")
        return None


def _value(name: str, text: str) -> str:
    if text.startswith("@@"):
        return text[1:]
    if not text.startswith("@"):
        return text
    file = text[1:]
    try:
        content = expanded(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"--var {name}=@{file}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--var {name}=@{file}: the file is no UTF-8 text") from None
    return content.removesuffix("\n")


def _one_of(name: str, text: str | None, words: tuple[str, ...]) -> Any:
    if text is not None and text not in words:
        raise UsageError(f"{name} {text}: give {', '.join(words[:-1])} or {words[-1]}")
    return text
