"""What is wrong with a regular expression before it is ever used. Knows nothing of what it looks for."""

from __future__ import annotations

import re

# The syntax tree is known to the interpreter only; typeshed has no name for it.
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT"})


def regex_problem(pattern: str) -> str | None:
    """Return what is wrong with ``pattern``, or None."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"this regular expression is not valid: {error}"
    if _repeats_a_repeat(_parser.parse(pattern)):
        return (
            "this regular expression repeats a repeat, as (a+)+ does: "
            "on a reply that does not match it could take for ever; take one of the two away"
        )
    return None


def _repeats_a_repeat(tree: Any) -> bool:
    """Whether an unbounded repeat may consist of unbounded repeats with nothing in between."""
    for operation, argument in tree:
        if _is_endless(operation, argument) and _may_be_a_repeat(argument[2]):
            return True
        if any(_repeats_a_repeat(part) for part in _parts(argument)):
            return True
    return False


def _may_be_a_repeat(tree: Any) -> bool:
    """Whether one unbounded repeat may be all that ``tree`` matches."""
    least = [tree[index : index + 1].getwidth()[0] for index in range(len(tree))]
    for index, (operation, argument) in enumerate(tree):
        if sum(least) - least[index]:
            continue
        if _is_endless(operation, argument):
            return True
        if str(operation) in ("SUBPATTERN", "BRANCH") and any(map(_may_be_a_repeat, _parts(argument))):
            return True
    return False


def _is_endless(operation: Any, argument: Any) -> bool:
    return str(operation) in _REPEATS and argument[1] == _parser.MAXREPEAT


def _parts(argument: Any) -> list[Any]:
    """Return the patterns within an operation's argument."""
    if isinstance(argument, _parser.SubPattern):
        return [argument]
    if isinstance(argument, (tuple, list)):
        return [part for item in argument for part in _parts(item)]
    return []
