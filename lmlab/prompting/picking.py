"""Which examples are shown, and in what order. Knows nothing of how they are written."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

Pick: TypeAlias = Literal["order", "random", "nearest"]

# A word; in scripts that put no space between words, a character.
_WORD = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")


class Picker:
    """Picks ``shots`` of ``pool``, the inputs of each example, for one row after another.

    ``fixed``: whether every row gets the same, but for one that is an example itself.
    """

    def __init__(self, pool: Sequence[Mapping[str, Any]], shots: int, pick: Pick, seed: int) -> None:
        self.fixed = pick != "nearest"
        self._shots = shots
        self._texts = [{name: str(value).strip() for name, value in inputs.items()} for inputs in pool]
        order = list(range(len(pool)))
        self._order = random.Random(seed).sample(order, len(order)) if pick == "random" else order
        if pick == "nearest":
            self._index()

    @property
    def usual(self) -> tuple[int, ...]:
        """What every row gets that is no example itself; meaningful when ``fixed``."""
        return tuple(self._order[: self._shots])

    def pick(self, values: Mapping[str, Any]) -> tuple[int, ...]:
        """Return indices into the pool for a row of ``values``, in the order to be shown.

        An example whose inputs are the row's would give its answer away: the next takes its place. Only when no other
        is left there is one fewer.
        """
        others = [index for index in self._ranked(values) if not self._is_example(index, values)]
        chosen = others[: self._shots]
        # The nearest comes last, closest to the row.
        return tuple(chosen) if self.fixed else tuple(reversed(chosen))

    def _is_example(self, index: int, values: Mapping[str, Any]) -> bool:
        inputs = self._texts[index]
        return bool(inputs) and all(str(values.get(name, "")).strip() == text for name, text in inputs.items())

    def _ranked(self, values: Mapping[str, Any]) -> list[int]:
        if self.fixed:
            return self._order
        given = {name for inputs in self._texts for name in inputs}
        counts = Counter(_words(str(values[name]) for name in values if name in given))
        near = [
            sum(count * weights.get(word, 0.0) * self._rarity.get(word, 0.0) for word, count in counts.items())
            for weights in self._weights
        ]
        return sorted(self._order, key=lambda index: (-near[index], index))

    def _index(self) -> None:
        """Weigh each example's words by how rare they are in the pool, to length 1: what remains of a cosine."""
        documents = [Counter(_words(inputs.values())) for inputs in self._texts]
        holders = Counter(word for document in documents for word in document)
        self._rarity = {word: math.log((1 + len(documents)) / (1 + holding)) + 1 for word, holding in holders.items()}
        self._weights = [self._normal(document) for document in documents]

    def _normal(self, document: Counter[str]) -> dict[str, float]:
        weights = {word: count * self._rarity[word] for word, count in document.items()}
        length = math.hypot(*weights.values()) or 1.0
        return {word: weight / length for word, weight in weights.items()}


def _words(texts: Any) -> list[str]:
    return [word for text in texts for word in _WORD.findall(text.casefold())]
