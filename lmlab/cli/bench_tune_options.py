"""The options of ``lmlab bench --tune``, and the values they become. Knows nothing of what is done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmlab.cli.options import words
from lmlab.errors import UsageError

if TYPE_CHECKING:
    from lmlab.lab.tuning.dimensions import Costly
    from lmlab.lab.tuning.rule import Objective

_OBJECTIVES: tuple[Objective, ...] = ("mixed", "decode", "prefill")
_ALLOWED: tuple[Costly, ...] = ("kv", "weights")
_WEIGHTS = ("Q8_0", "Q4_K_M", "Q4_0")


def _complete_types(incomplete: str) -> list[tuple[str, str]]:
    before, comma, last = incomplete.rpartition(",")
    from lmlab.cli.models_quantize_options import complete_type

    return [(f"{before}{comma}{name}", about) for name, about in complete_type(last)]


def _tuning(*names: str, help: str, metavar: str = "", complete: Callable[[str], Any] | None = None) -> Any:
    # No variables here: it is a deed, and what is left open must not come from another day.
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel="Tuning", autocompletion=complete)


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """Whether and how a model is tuned."""

    tune: Annotated[
        bool,
        _tuning(
            "--tune",
            help="Find what makes one model faster here (threads, flash attention, ubatch), and use it from then on "
            "where you say nothing else. It takes --max-time, 3 minutes unless said.",
        ),
    ] = False
    objective: Annotated[
        str | None,
        _tuning(
            "--objective",
            metavar="|".join(_OBJECTIVES),
            help="What is to be fast: reading prompts (prefill), writing (decode), or a request with both. Default: mixed.",
            complete=words(*_OBJECTIVES),
        ),
    ] = None
    allow: Annotated[
        str | None,
        _tuning(
            "--allow",
            metavar=",".join(_ALLOWED),
            help="Try what changes replies, too: a quantized KV cache, quantized weights in a file of their own. "
            "What it costs is measured and said.",
            complete=words(*_ALLOWED, ",".join(_ALLOWED)),
        ),
    ] = None
    quantize: Annotated[
        str | None,
        _tuning(
            "--quantize",
            metavar="TYPE,...",
            help=f"With --allow weights: the types to try. Default: {','.join(_WEIGHTS)}.",
            complete=_complete_types,
        ),
    ] = None
    forget: Annotated[
        bool, _tuning("--forget", help="With --tune: measure nothing, and forget what was found for the model.")
    ] = False

    def check(self) -> None:
        """Raise UsageError for what goes with --tune alone, or not together."""
        if not self.tune:
            given = (
                (self.objective, "--objective"),
                (self.allow, "--allow"),
                (self.quantize, "--quantize"),
                (self.forget, "--forget"),
            )
            if name := next((name for value, name in given if value), None):
                raise UsageError(f"{name} is for tuning: say --tune, too")
        if self.forget and (self.objective or self.allow or self.quantize):
            raise UsageError("--forget measures nothing: leave out --objective, --allow and --quantize")

    def wanted(self) -> Objective:
        objective = self.objective or _OBJECTIVES[0]
        by_name: dict[str, Objective] = {name: name for name in _OBJECTIVES}
        if objective not in by_name:
            raise UsageError(f"--objective {objective}: give {', '.join(_OBJECTIVES[:-1])} or {_OBJECTIVES[-1]}")
        return by_name[objective]

    def allowed(self) -> frozenset[Costly]:
        by_name: dict[str, Costly] = {name: name for name in _ALLOWED}
        names = [] if self.allow is None else [name.strip() for name in self.allow.split(",")]
        if other := next((name for name in names if name not in by_name), None):
            raise UsageError(f"--allow {self.allow}: there is no {other!r}; give {' or '.join(_ALLOWED)}, or both")
        if names == [""]:
            raise UsageError(f"--allow: give {' or '.join(_ALLOWED)}, or both")
        if self.quantize is not None and "weights" not in names:
            raise UsageError("--quantize writes the model anew if that is faster: say --allow weights, too")
        return frozenset(by_name[name] for name in names)

    def weights(self) -> tuple[str, ...]:
        """Return the types of weights to try, none unless they are allowed. Raises UsageError for what is no type."""
        if "weights" not in self.allowed():
            return ()
        from lmlab.models.quantizations import file_type

        names = _WEIGHTS if self.quantize is None else self.quantize.split(",")
        return tuple(dict.fromkeys(file_type(name.strip()) for name in names))
