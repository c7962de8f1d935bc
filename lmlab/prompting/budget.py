"""How much one rendering may make: every value an operation makes is weighed first. Knows nothing of Jinja2 or templates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

MAX_MADE = 8_000_000
"""What all the operations of a rendering may make, in characters; an item of a list or mapping counts as eight."""
MAX_NUMBER = 10**18
"""Whole numbers further from 0 take ever more memory, and no prompt needs them."""

ITEM = 8
_OVER = f"it makes over {MAX_MADE:,} characters on the way, more than a template may"
_Value = TypeVar("_Value")
_left: ContextVar[int] = ContextVar("left")


class TooMuch(Exception):
    """More was asked for than a template may have."""


@contextmanager
def fresh_budget() -> Iterator[None]:
    """Give what is rendered inside a budget of its own."""
    token = _left.set(MAX_MADE)
    try:
        yield
    finally:
        _left.reset(token)


def spend(characters: int) -> None:
    """Raise TooMuch when the rendering may not make so many more."""
    left = _left.get() - characters
    if left < 0:
        raise TooMuch(_OVER)
    _left.set(left)


def made(value: _Value) -> _Value:
    """Return ``value``, having spent what it weighs."""
    spend(weigh(value))
    return value


def weigh(value: Any) -> int:
    """Return the characters in ``value``, through lists and mappings. A list that is there twice counts twice.

    Raises TooMuch as soon as they are more than any rendering may make, and for a number that is too large.
    """
    weight, rest = 0, [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            weight += len(one)
        elif isinstance(one, int):
            if abs(one) > MAX_NUMBER:
                raise TooMuch("a whole number beyond 10**18 is not allowed in a template")
        elif isinstance(one, (list, tuple, dict)):
            weight += ITEM * len(one)
            rest += [*one, *one.values()] if isinstance(one, dict) else one
        if weight > MAX_MADE:
            raise TooMuch(_OVER)
    return weight
