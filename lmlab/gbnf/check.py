"""Whether llama.cpp can hold a reply to a grammar: what would end the process there, or never end, is refused here.

Knows nothing of tokens or models.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from lmlab.errors import ConstraintError
from lmlab.gbnf.reader import CHARACTER, GbnfReader, Rules

MAX_CHAIN = 500
"""Rules that may begin each other in a row: llama.cpp follows them by recursion."""

MAX_READINGS = 20_000
"""Ways to begin a rule: llama.cpp follows all of them at once."""


def check_gbnf(text: str) -> None:
    """Raise ConstraintError, with line and column, unless llama.cpp can hold a reply to the grammar ``text``."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ConstraintError("the grammar holds half a surrogate pair: write that character whole") from None
    _check_structure(GbnfReader(text).read())


def _check_structure(rules: Rules) -> None:
    productive = _derivable(rules, characters=True)
    endless = [number for number in rules.defined if number not in productive]
    if endless:
        # llama.cpp would be left without a place in the grammar, which ends the process.
        name = rules.owners[_circle(rules, productive, endless[0])]
        raise ConstraintError(f"the rule {name!r} of the grammar has no end: whatever it reads, it needs itself again")
    nullable = _derivable(rules, characters=False)
    chain: dict[int, int] = {}
    readings: dict[int, int] = {}
    for number in _leaves_first(rules, nullable):
        first = list(_first(rules, nullable, number))
        chain[number] = 1 + max((chain[other] for other in first), default=0)
        readings[number] = len(rules.defined[number]) + sum(readings[other] for other in first)
        if chain[number] > MAX_CHAIN or readings[number] > MAX_READINGS:
            raise ConstraintError(
                f"the rule {rules.owners[number]!r} of the grammar begins in too many ways "
                f"(more than {MAX_READINGS:,}, or through more than {MAX_CHAIN} rules): make it less ambiguous"
            )


def _circle(rules: Rules, productive: set[int], number: int) -> int:
    """Return a rule that needs itself, among those that ``number``, which has no end, needs."""
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        needed = (symbol for sequence in rules.defined[number] for symbol in sequence if symbol != CHARACTER)
        number = next(symbol for symbol in needed if symbol not in productive)
    return number


def _derivable(rules: Rules, *, characters: bool) -> set[int]:
    """Return the rules that can end, reading characters on the way or, without ``characters``, nothing at all."""
    waiting: dict[int, list[int]] = defaultdict(list)
    missing: list[int] = []
    parents: list[int] = []
    found: set[int] = set()
    ready: list[int] = []
    for number, alternatives in rules.defined.items():
        for sequence in alternatives:
            if not characters and CHARACTER in sequence:
                continue
            needs = set(sequence) - {CHARACTER}
            for other in needs:
                waiting[other].append(len(missing))
            missing.append(len(needs))
            parents.append(number)
            if not needs:
                ready.append(number)
    while ready:
        number = ready.pop()
        if number in found:
            continue
        found.add(number)
        for index in waiting[number]:
            missing[index] -= 1
            if not missing[index]:
                ready.append(parents[index])
    return found


def _first(rules: Rules, nullable: set[int], number: int) -> Iterator[int]:
    """Yield each rule that may begin where ``number`` begins, once for each way."""
    for sequence in rules.defined[number]:
        for symbol in sequence:
            if symbol == CHARACTER:
                break
            yield symbol
            if symbol not in nullable:
                break


def _leaves_first(rules: Rules, nullable: set[int]) -> Iterator[int]:
    """Yield each rule after all that may begin it; ConstraintError where that goes in a circle.

    llama.cpp finds only some of these circles, and in the others fills the memory.
    """
    state: dict[int, bool] = {}
    for start in rules.defined:
        path = [(start, _first(rules, nullable, start))] if start not in state else []
        state.setdefault(start, False)
        while path:
            number, rest = path[-1]
            other = next(rest, None)
            if other is None:
                state[number] = True
                path.pop()
                yield number
            elif other not in state:
                state[other] = False
                path.append((other, _first(rules, nullable, other)))
            elif not state[other]:
                raise ConstraintError(
                    f"the rule {rules.owners[other]!r} of the grammar can come back to itself before it reads a character: "
                    "it refers to itself on the left, or repeats what may be empty"
                )
