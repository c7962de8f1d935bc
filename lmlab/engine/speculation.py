"""Speculation: guesses at the tokens that come next, and how many of them are worth a row of the batch.

A step that carries guesses decodes them after the last token, all at once; the draws then decide how many were right.
A guess is only a token id: it changes what a step costs, never what is drawn. Knows nothing of models or batches.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

MAX_DEPTH = 12
"""Guesses at most. On a processor a row costs a third to a half of a step alone, so certain guesses gain 1.89 times the
speed at 8, 1.96 at 12 and never more than 2.1, while a wrong one wastes all the rows after it."""

LONGEST, SHORTEST = 4, 2
"""Lengths of the n-grams that are looked up. Of what follows a longer one, the lookup keeps track by itself."""

HOPELESS = 0.02
"""Guesses whose chance to count is below this are not weighed: they cannot pay for a row."""

_WIDTH = 32
_LENGTHS = tuple(range(LONGEST, SHORTEST - 1, -1))
_MASKS = tuple((1 << _WIDTH * length) - 1 for length in _LENGTHS)
"""An n-gram is packed into one number, a token in 32 bits: half the memory of a tuple, and nothing to collect."""

FIRST_CHANCES = (0.0, 0.0, 0.35, 0.55, 0.8, 0.92, 0.97)
"""How often a match is thought to go on before anything is known, by the bit length of how many tokens match: 2 or 3,
4 to 7, 8 to 15, 16 to 31, more."""

Cost = Callable[[int], float]
"""Seconds of a step in which this request has so many rows, one and its guesses."""


def best_depth(chances: Sequence[float], cost: Cost, others: int) -> int:
    """Return how many guesses give the most tokens a second. ``chances`` are each one's, if all before it were right.

    ``others`` are the tokens that the step yields to other requests, which wait for these rows too.
    """
    tokens, reach = others + 1.0, 1.0
    best, best_rate = 0, tokens / cost(1)
    for depth, chance in enumerate(chances[:MAX_DEPTH], start=1):
        reach *= chance
        if reach < HOPELESS:
            break
        tokens += reach
        rate = tokens / cost(1 + depth)
        if rate > best_rate:
            best, best_rate = depth, rate
    return best


class Lookup:
    """Guesses that one request's text goes on as it did before: prompt lookup.

    It follows a source: a place of the text whose last tokens are those at the end. A source is kept while its next
    token is what comes, and else looked for anew: the most recent place after the longest n-gram that the text ends with.
    Each token that comes tells, at no cost, whether the guess at it would have been right; how often that is so is
    learned by how long the match was, since one of three tokens may be chance and one of thirty is a copy.
    """

    _RATE = 0.12

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        # One dictionary a length, from an n-gram to the place after its latest occurrence.
        self._places: tuple[dict[int, int], ...] = tuple({} for _ in _LENGTHS)
        self._end = 0
        self._source = -1
        self._matched = 0
        self._chances = list(FIRST_CHANCES)
        self.extend(tokens)
        # What a prompt repeats of itself says little of what a reply will repeat of it.
        self._chances = list(FIRST_CHANCES)

    def __len__(self) -> int:
        """How many tokens it knows."""
        return len(self._tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Take in ``tokens``, which came after those known."""
        for token in tokens:
            self._follow(token)
            self._append(token)
            if self._source < 0:
                self._search()

    def depth(self, cost: Cost, others: int = 0) -> int:
        """Return how many guesses are worth their rows now, 0 for none. ``others`` as for ``best_depth``."""
        if self._source < 0:
            return 0
        top = len(self._chances) - 1
        chances = [self._chances[min((self._matched + further).bit_length(), top)] for further in range(MAX_DEPTH)]
        return best_depth(chances, cost, others)

    def propose(self, depth: int) -> list[int]:
        """Return up to ``depth`` guesses, or none when the text ends with nothing that was there before.

        A source so close to the end that it runs into it is repeated: text that loops goes on looping.
        """
        if self._source < 0 or depth <= 0:
            return []
        guesses = self._tokens[self._source : self._source + depth]
        while len(guesses) < depth:
            guesses += guesses[: depth - len(guesses)]
        return guesses

    def _follow(self, token: int) -> None:
        if self._source < 0:
            return
        hit = self._tokens[self._source] == token
        kind = min(self._matched.bit_length(), len(self._chances) - 1)
        self._chances[kind] += self._RATE * (hit - self._chances[kind])
        if hit:
            self._source += 1
            self._matched += 1
        else:
            self._source, self._matched = -1, 0

    def _append(self, token: int) -> None:
        # The n-grams that end before this token are entered with it, so that the text's own end is never found.
        place = len(self._tokens)
        for length, mask, places in zip(_LENGTHS, _MASKS, self._places, strict=True):
            if place >= length:
                places[self._end & mask] = place
        self._end = (self._end << _WIDTH | token) & _MASKS[0]
        self._tokens.append(token)

    def _search(self) -> None:
        for length, mask, places in zip(_LENGTHS, _MASKS, self._places, strict=True):
            if len(self._tokens) >= length:
                place = places.get(self._end & mask)
                if place is not None:
                    self._source, self._matched = place, length
                    return


class DepthControl:
    """How many guesses of a draft model are worth their rows for one request, from how many were right so far.

    When guesses lose it asks for none, and tries a single one now and then: as often as ``PROBE_SHARE`` of the time
    pays for, half as often after each try that fails.
    """

    FIRST_CHANCE = 0.7
    LEAST_CHANCE = 0.1
    RATE = 0.1
    PROBE_SHARE = 0.02

    def __init__(self) -> None:
        self._chance = self.FIRST_CHANCE
        self._off = False
        self._saved = 0.0
        self._price = 1

    def depth(self, cost: Cost, others: int = 0, catch_up: float = 0.0) -> int:
        """Return how many guesses to ask for in this step, 0 for none. ``others`` as for ``best_depth``.

        ``cost`` includes the time that making the guesses takes. ``catch_up``: the seconds that a draft model left
        behind needs before it can guess; they count for a try, and not while guesses are asked for in every step.
        """
        best = best_depth([self._chance] * MAX_DEPTH, cost, others)
        self._off = best == 0
        if not self._off:
            return best
        self._saved += self.PROBE_SHARE * cost(1)
        if self._saved < self._price * (cost(2) - cost(1) + catch_up):
            return 0
        self._saved = 0.0
        return 1

    def record(self, proposed: int, accepted: int) -> None:
        """Take in that the first ``accepted`` of ``proposed`` guesses were drawn.

        None proposed although some were asked for is a miss: the time was spent.
        """
        for _ in range(accepted):
            self._chance += self.RATE * (1.0 - self._chance)
        missed = accepted < proposed or proposed == 0
        if missed:
            self._chance = max(self.LEAST_CHANCE, self._chance * (1.0 - self.RATE))
        if accepted:
            self._price = 1
            # A try that is right has paid for the next.
            self._saved = math.inf if self._off and not missed else 0.0
        elif self._off:
            self._price *= 2


class RowCost:
    """Seconds of a step by its rows, learned from the steps made. Never less for more rows.

    What all steps have in common, which moves with the length of the contexts and with what else the machine does, is
    learned fast, apart from how much more a step of many rows costs than a step of one.
    """

    PRIOR_SLOPE = 0.45
    """What a further row costs before anything is known, as a part of a step of one: 0.47 and 0.31 were measured."""

    LEVEL_RATE = 0.2
    SHAPE_RATE = 0.3

    def __init__(self) -> None:
        self._level: float | None = None
        # Numbers of rows that were seen, ascending, and the cost of each relative to one row.
        self._rows = [1]
        self._shape = [1.0]

    def record(self, rows: int, seconds: float) -> None:
        """Take in that a step of ``rows`` rows, 1 or more, took ``seconds``."""
        shape = self._relative(rows)
        if self._level is None:
            self._level = seconds / shape
        self._level += self.LEVEL_RATE * (seconds / shape - self._level)
        if rows > 1:
            self._learn(rows, shape + self.SHAPE_RATE * (seconds / self._level - shape))

    def __call__(self, rows: int) -> float:
        return (1.0 if self._level is None else self._level) * self._relative(rows)

    def _learn(self, rows: int, shape: float) -> None:
        shape = max(1.0, shape)
        index = bisect_left(self._rows, rows)
        if index == len(self._rows) or self._rows[index] != rows:
            self._rows.insert(index, rows)
            self._shape.insert(index, shape)
        self._shape[index] = shape
        # The latest word counts: what contradicts it, less for more rows, gives way.
        self._shape[:index] = [min(other, shape) for other in self._shape[:index]]
        self._shape[index:] = [max(other, shape) for other in self._shape[index:]]

    def _relative(self, rows: int) -> float:
        index = bisect_left(self._rows, rows)
        if index == len(self._rows):
            prior = 1.0 + self.PRIOR_SLOPE * (rows - 1)
            return self._shape[-1] * prior / (1.0 + self.PRIOR_SLOPE * (self._rows[-1] - 1))
        if self._rows[index] == rows:
            return self._shape[index]
        left, right = self._rows[index - 1], self._rows[index]
        part = (rows - left) / (right - left)
        return self._shape[index - 1] + part * (self._shape[index] - self._shape[index - 1])
