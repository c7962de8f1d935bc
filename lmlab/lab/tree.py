"""The turns of a session as a tree, and the order in which it is shown. Plain values; knows nothing of stores or screens.

::

    you      Which is larger, 9.9 or 9.11?
        model    1 of 2  9.11 is larger.
    model    2 of 2  9.9 is larger.
    you      Sure?

Where a turn has several children, the one with the newest turn goes on at its depth, and the others stand before it,
one deeper: however long a conversation is, it goes straight down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lmlab.store import Turn


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """``selected``: the selected path leads through it. ``newest`` is the highest id at or below it."""

    turn: Turn
    children: tuple[Node, ...] = field(repr=False)
    selected: bool
    newest: int


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One line of the tree as it is shown: ``depth`` from 0; ``place`` from 1 among ``of`` siblings."""

    node: Node
    depth: int
    place: int
    of: int

    @property
    def turn(self) -> Turn:
        return self.node.turn


def tree(turns: Sequence[Turn], path: Sequence[Turn]) -> tuple[Node, ...]:
    """Return the first messages, with all below them. ``turns`` come oldest first, ``path`` is the selected one."""
    selected = {turn.id for turn in path}
    below: dict[int | None, list[Node]] = {}
    # From the newest on, so that the children of each are there: a conversation may be deeper than calls can nest.
    for turn in reversed(turns):
        children = tuple(reversed(below.pop(turn.id, [])))
        newest = max((child.newest for child in children), default=turn.id)
        below.setdefault(turn.parent, []).append(Node(turn, children, turn.id in selected, newest))
    return tuple(reversed(below.get(None, [])))


def walk(roots: Sequence[Node]) -> Iterator[Row]:
    """Yield every node in the order in which it is shown."""
    waiting = _rows(roots, 0)
    while waiting:
        row = waiting.pop()
        yield row
        waiting += _rows(row.node.children, row.depth)


def _rows(siblings: Sequence[Node], depth: int) -> list[Row]:
    """Return siblings as rows, the one to be shown first last."""
    trunk = max(siblings, key=lambda node: node.newest, default=None)
    rows = [
        Row(node, depth if node is trunk else depth + 1, place, len(siblings))
        for place, node in enumerate(siblings, start=1)
    ]
    return [*(row for row in rows if row.node is trunk), *(row for row in reversed(rows) if row.node is not trunk)]
