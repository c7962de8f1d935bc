"""The options that say what a reply must look like. Knows nothing of how that is made sure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from lmlab.backends import Constraint
from lmlab.cli.options import option
from lmlab.errors import ConstraintError, UsageError
from lmlab.lab.constraints import read_grammar, read_schema


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """What the reply must look like."""

    grammar: Annotated[
        str | None,
        option(
            "--grammar",
            metavar="FILE",
            help="The reply follows this GBNF grammar.",
            panel="Constraints",
            beaten_by="json_schema",
        ),
    ] = None
    json_schema: Annotated[
        str | None,
        option(
            "--json-schema",
            metavar="FILE|TEXT",
            help="The reply is JSON that fits this JSON Schema: a file, or the schema itself, {...}.",
            panel="Constraints",
            beaten_by="grammar",
        ),
    ] = None

    def constraint(self) -> Constraint | None:
        """Return what was asked for. Raises UsageError for a file that cannot be read, or that no reply can be held to."""
        if self.grammar is not None and self.json_schema is not None:
            raise UsageError("--grammar and --json-schema both say what the reply looks like: give one of them")
        if self.grammar is not None:
            return read_grammar("--grammar", self.grammar)
        return None if self.json_schema is None else read_schema("--json-schema", self.json_schema)


@contextmanager
def constraint_named(constraint: Constraint | None) -> Iterator[None]:
    """Within, what is wrong with the constraint is told with the option it was given by."""
    try:
        yield
    except ConstraintError as error:
        name = "--grammar" if constraint is not None and constraint.kind == "gbnf" else "--json-schema"
        raise ConstraintError(f"{name}: {error}") from None
