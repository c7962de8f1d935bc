"""Where two texts differ, word by word, in bounded time. Knows nothing of how that is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WORDS = re.compile(r"(\w+|[^\w\s]|\A(?=\s))(\s*)")
_LINES = re.compile(r"([^\n]+|\n)()")
# Beyond so many words that differ, the time grows with their square: a tenth of a second at this number.
_MOST_EDITS = 600


@dataclass(frozen=True, slots=True)
class Span:
    """``changed``: the other text does not have it here."""

    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Differences:
    """The spans of each text; joined they are the text. ``exact`` False: so much differs that lines were compared.

    ``same`` is how much of both is in the other too, 0 to 1, by characters that are not white space.
    """

    left: tuple[Span, ...]
    right: tuple[Span, ...]
    exact: bool
    same: float


def differences(left: str, right: str) -> Differences:
    """Compare words and punctuation marks, not the white space after them; lines where more than 600 words differ.

    Finds the fewest that can be said to differ (Myers, "An O(ND) difference algorithm and its variations", 1986).
    """
    for pattern in (_WORDS, _LINES):
        first, second = pattern.findall(left), pattern.findall(right)
        kept = _kept([part for part, _ in first], [part for part, _ in second])
        if kept is not None:
            sides = tuple(_spans(parts, places) for parts, places in zip((first, second), kept, strict=True))
            return _told(sides[0], sides[1], pattern is _WORDS)
    whole = [(Span(text, True),) if text else () for text in (left, right)]
    return _told(whole[0], whole[1], False)


def _told(left: tuple[Span, ...], right: tuple[Span, ...], exact: bool) -> Differences:
    every = [(len("".join(span.text.split())), span.changed) for span in (*left, *right)]
    whole = sum(length for length, _ in every)
    same = sum(length for length, changed in every if not changed)
    return Differences(left, right, exact, same / whole if whole else 1.0)


def _spans(parts: Sequence[tuple[str, str]], kept: set[int]) -> tuple[Span, ...]:
    """Return the parts, neighbours of one kind joined; the space after a word that changed goes with what follows it."""
    spans: list[Span] = []
    pending = ""
    for place, (part, space) in enumerate(parts):
        changed = place not in kept
        if spans and spans[-1].changed == changed:
            spans[-1] = Span(spans[-1].text + pending + part, changed)
        elif changed and spans:
            spans[-1] = Span(spans[-1].text + pending, False)
            spans.append(Span(part, True))
        else:
            spans.append(Span(pending + part, changed))
        pending = space
    if pending and spans and spans[-1].changed:
        spans.append(Span(pending, False))
    elif pending and spans:
        spans[-1] = Span(spans[-1].text + pending, False)
    return tuple(span for span in spans if span.text)


def _kept(left: Sequence[str], right: Sequence[str]) -> tuple[set[int], set[int]] | None:
    """Return the places in each of what both have, in order; None when more than _MOST_EDITS would differ."""
    begin = 0
    while begin < min(len(left), len(right)) and left[begin] == right[begin]:
        begin += 1
    end = 0
    while end < min(len(left), len(right)) - begin and left[-1 - end] == right[-1 - end]:
        end += 1
    matches = _matches(left[begin : len(left) - end], right[begin : len(right) - end])
    if matches is None:
        return None
    outside = [(place, place) for place in range(begin)]
    outside += [(len(left) - place, len(right) - place) for place in range(1, end + 1)]
    every = outside + [(begin + one, begin + other) for one, other in matches]
    return {one for one, _ in every}, {other for _, other in every}


def _matches(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]] | None:
    """Return the places of a longest common subsequence; None when more than _MOST_EDITS are not in it."""
    # furthest[k]: how far into ``left`` one gets on the diagonal k = place in left - place in right. Negative diagonals
    # count from the end.
    furthest = [0] * (2 * _MOST_EDITS + 3)
    steps: list[list[int]] = []
    for edits in range(_MOST_EDITS + 1):
        steps.append(furthest[:])
        for k in range(-edits, edits + 1, 2):
            one = furthest[k + 1] if _goes_down(furthest, k, edits) else furthest[k - 1] + 1
            while one < len(left) and one - k < len(right) and left[one] == right[one - k]:
                one += 1
            furthest[k] = one
            if one >= len(left) and one - k >= len(right):
                return list(_walked_back(steps, len(left), len(right)))
    return None


def _goes_down(furthest: Sequence[int], k: int, edits: int) -> bool:
    """Whether diagonal ``k`` is best reached by a word that only ``right`` has."""
    return k == -edits or (k != edits and furthest[k - 1] < furthest[k + 1])


def _walked_back(steps: list[list[int]], one: int, other: int) -> Iterator[tuple[int, int]]:
    for edits in range(len(steps) - 1, -1, -1):
        furthest, k = steps[edits], one - other
        before = k + 1 if _goes_down(furthest, k, edits) else k - 1
        begin = furthest[before]
        while one > max(begin, 0) and other > max(begin - before, 0):
            one, other = one - 1, other - 1
            yield one, other
        one, other = begin, begin - before
