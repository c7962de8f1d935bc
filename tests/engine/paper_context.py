"""A context on paper: which sequence holds which cells, as llama.cpp's unified KV cache keeps them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

FIRST = 10
"""The first shelf id; requests run on ids below it."""


@dataclass(eq=False)
class Cell:
    """One position, computed from ``tokens``, the last of them its own, under the adapters of ``space``."""

    space: Hashable
    tokens: tuple[int, ...]


class PaperContext:
    """A share must go to an empty sequence, as the contract of ``Context.share`` says.

    ``first``: the first position of a sequence that layers with a sliding window still hold.
    """

    def __init__(self, window: int = 0) -> None:
        self.window = window
        self.cells: dict[int, list[Cell]] = {}
        self.first: dict[int, int] = {}
        self.calls: list[tuple[object, ...]] = []

    def decode(self, sequence: int, tokens: list[int], space: Hashable = ()) -> None:
        """Make what ``sequence`` holds be ``tokens``, which begin with it."""
        held = self.cells.setdefault(sequence, [])
        self.first.setdefault(sequence, 0)
        assert self.tokens(sequence) == tuple(tokens[: len(held)])
        held += [Cell(space, tuple(tokens[: end + 1])) for end in range(len(held), len(tokens))]

    def share(self, source: int, target: int, length: int) -> None:
        assert target not in self.cells, f"{target} is not empty"
        assert len(self.cells[source]) >= length > 0
        self.cells[target] = self.cells[source][:length]
        self.first[target] = self.first[source]
        self.calls.append(("share", source, target, length))

    def drop(self, sequence: int) -> None:
        del self.cells[sequence], self.first[sequence]
        self.calls.append(("drop", sequence))

    def cut(self, sequence: int, position: int) -> bool:
        assert 0 < position < len(self.cells[sequence])
        del self.cells[sequence][position:]
        self.calls.append(("cut", sequence, position))
        return True

    def first_position(self, sequence: int) -> int:
        first = self.first.get(sequence, 0)
        return first if first < len(self.cells.get(sequence, ())) else -1

    def tokens(self, sequence: int) -> tuple[int, ...]:
        cells = self.cells[sequence]
        for position, cell in enumerate(cells):
            assert cell.tokens == cells[-1].tokens[: position + 1], "cells of different texts in one sequence"
            assert cell.space == cells[-1].space, "cells of different adapters in one sequence"
        return cells[-1].tokens if cells else ()

    @property
    def used(self) -> int:
        """Cells in use, however many sequences share each."""
        return len({cell for cells in self.cells.values() for cell in cells})

    def recyclable(self) -> list[tuple[int, int]]:
        """(sequence, position) of what llama.cpp may take: behind the window of the only sequence that holds it."""
        holders: dict[Cell, int] = {}
        for sequence, cells in self.cells.items():
            for cell in cells[self.first[sequence] :]:
                holders[cell] = holders.get(cell, 0) + 1
        return [
            (sequence, position)
            for sequence, cells in self.cells.items()
            for position in range(self.first[sequence], len(cells) - self.window + 1)
            if holders[cells[position]] == 1
        ]

    def recycle(self, sequence: int, position: int) -> None:
        """Take a cell; llama.cpp then forgets all before it too."""
        self.first[sequence] = position + 1
