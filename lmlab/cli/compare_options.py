"""The options that are a comparison's own. Knows nothing of how answers are weighed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmlab.cli.complete import complete_model
from lmlab.cli.options import lines_of, option, whole_number
from lmlab.errors import UsageError
from lmlab.settings import expanded

if TYPE_CHECKING:
    from lmlab.lab.best_of import SelectorSpec
    from lmlab.lab.compare.divergences import Text

_WEIGHING, _RESULTS = "Weighing", "Results"
_FORMATS = {".md": "markdown", ".markdown": "markdown", ".json": "json", ".html": "html", ".htm": "html"}
_MOST_REPEATS = 1000
_SCORERS = (
    ("logprob", "how probable its model found the reply"),
    ("reward:", "a reward model: reward:MODEL"),
    ("regex:", "1 where it matches: regex:PATTERN"),
    ("command:", "what a program makes of it: command:CMD"),
)


def _weighing(*names: str, help: str, metavar: str = "", complete: Any = None) -> Any:
    return option(*names, help=help, metavar=metavar, panel=_WEIGHING, complete=complete)


def _complete_scorer(incomplete: str) -> list[tuple[str, str]]:
    return [(name, help) for name, help in _SCORERS if name.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class WeighingOptions:
    """What says which answer is better."""

    judge: Annotated[
        str | None,
        _weighing(
            "--judge",
            metavar="MODEL",
            help="A model reads each pair of answers, in both orders, and says which is better.",
            complete=complete_model,
        ),
    ] = None
    score: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a command may well hold one.
        typer.Option(
            "--score",
            metavar="S",
            help="Mark each answer: logprob, reward:MODEL, regex:PATTERN, or command:CMD (reply on stdin; a number on the "
            "last line of stdout, or exit code 0, is the mark). Repeatable; in LMLAB_SCORE one a line.",
            rich_help_panel=_WEIGHING,
            autocompletion=_complete_scorer,
        ),
    ] = None
    expect: Annotated[
        str | None,
        _weighing(
            "--expect",
            metavar="COL",
            help="The column with the expected answer, for templates that check it. "
            "Default: expected, answer or label, whichever there is.",
        ),
    ] = None
    repeat: Annotated[
        str | None,
        _weighing(
            "--repeat",
            metavar="K",
            help="Put each prompt K times, with other random numbers; the answers to one prompt count as one. Default: 1.",
        ),
    ] = None
    kl: Annotated[
        str | None,
        _weighing(
            "--kl",
            metavar="FILE",
            help="Over this text: how far each model's predictions are from the first one's (mean KL divergence, top-token "
            "agreement, perplexities). For models with the same vocabulary.",
        ),
    ] = None
    blind: Annotated[
        bool,
        _weighing("--blind", help="On the screen: hide which variant is which, and shuffle them, until you voted."),
    ] = False

    def scorers(self) -> tuple[SelectorSpec, ...]:
        """Return what marks answers. Raises UsageError."""
        from lmlab.lab.compare.weighing import parse_scorer

        return tuple(dict.fromkeys(map(parse_scorer, self.score or lines_of("LMLAB_SCORE"))))

    def repeats(self) -> int:
        return whole_number("--repeat", self.repeat, 1, _MOST_REPEATS) or 1

    def text(self) -> Text | None:
        """Return the text that divergence is measured over. Raises UsageError."""
        if self.kl is None:
            return None
        from lmlab.lab.compare.divergences import Text

        try:
            found = expanded(self.kl).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UsageError(f"--kl {self.kl}: cannot read it: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"--kl {self.kl}: the file is no UTF-8 text") from None
        return Text(self.kl, found)

    @property
    def needs_no_person(self) -> bool:
        """Whether something here is weighed by a machine, or by repeating."""
        machine = self.judge or self.score or lines_of("LMLAB_SCORE") or self.expect or self.kl
        return bool(machine) or self.repeats() > 1


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What is left of a comparison."""

    report: Annotated[
        list[str] | None,
        # Click would split the variable at every space, and a path may well hold one.
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write the whole report, every answer in it: .html (one page, charts in it), .md or .json. Repeatable; in "
            "LMLAB_REPORT one a line.",
            rich_help_panel=_RESULTS,
        ),
    ] = None
    output: Annotated[
        str | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where answers, votes and verdicts are kept as they are made; the same command again goes on from there. "
            "Default: a file of its own for these variants, under lmlab's data.",
            panel=_RESULTS,
        ),
    ] = None

    def reports(self) -> tuple[tuple[Path, str], ...]:
        """Return the files and the format of each. Raises UsageError for one that could not be written."""
        found = []
        for text in self.report or lines_of("LMLAB_REPORT"):
            path = expanded(text)
            kind = _FORMATS.get(path.suffix.lower())
            if kind is None:
                raise UsageError(f"--report {text}: the name says no format: end it in .html, .md or .json")
            if path.is_dir():
                raise UsageError(f"--report {text} is a folder: name a file in it")
            if not path.absolute().parent.is_dir():
                raise UsageError(f"--report {text}: there is no folder {path.absolute().parent}: make it first")
            found.append((path, kind))
        return tuple(found)
