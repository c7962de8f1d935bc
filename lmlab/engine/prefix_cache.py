"""Token prefixes whose KV cells outlive their requests, and how each kind of model may reuse them.

Idle prefixes lie on shelf sequences, which are never decoded; a request begins by sharing a shelf sequence's first
positions, which copies nothing. Knows tokens and sequence ids only. Matching changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.llama import Context

ReusePolicy: TypeAlias = Literal["full", "sliding-window", "recurrent"]


@dataclass(slots=True, eq=False)
class Resident:
    """An idle sequence and the tokens its KV cells hold."""

    sequence: int
    tokens: tuple[int, ...]


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two sequences, both tuples or both lists, share from the start."""
    low, high = 0, min(len(left), len(right))
    # Slices compare in C: halve towards the first difference.
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PrefixCache:
    """The shelf: sequence ids ``first`` to ``first + capacity - 1``, residents least recently used first."""

    def __init__(
        self, context: Context, policy: ReusePolicy, *, sliding_window: int, first: int, capacity: int
    ) -> None:
        self._context = context
        self._policy = policy
        self._window = sliding_window
        self._free = list(range(first, first + capacity))
        self._residents: list[Resident] = []

    def match(self, tokens: Sequence[int]) -> tuple[Resident | None, int]:
        """Return the resident that shares most with ``tokens`` and how many of its positions can be reused.

        At most ``len(tokens) - 1``: the last token is decoded again, for its logits.
        """
        best: Resident | None = None
        length = 0
        key = tuple(tokens[:-1])
        for resident in self._residents:
            shared = common_prefix(resident.tokens, key)
            if shared > length and self._reusable(resident, shared):
                best, length = resident, shared
        return best, length

    def _reusable(self, resident: Resident, shared: int) -> bool:
        if self._policy == "recurrent":
            # A recurrent state holds its end only: all of it continues, or nothing does.
            return shared == len(resident.tokens)
        return self.window_intact(resident.sequence, shared)

    def window_intact(self, sequence: int, position: int) -> bool:
        """Whether all that a token at ``position`` attends to is still held; llama.cpp drops old cells silently."""
        if self._policy != "sliding-window":
            return True
        # A token attends to itself and the window - 1 positions before it. Old cells go first, so no gap lies after them.
        return 0 <= self._context.first_position(sequence) <= max(0, position - self._window + 1)

    def begin(self, resident: Resident, length: int, sequence: int) -> None:
        """Let the empty ``sequence`` begin with ``length`` positions of ``resident``, now the most recently used."""
        self._residents.remove(resident)
        self._residents.append(resident)
        self._context.share(resident.sequence, sequence, length)

    def keep(self, sequence: int, tokens: Sequence[int]) -> None:
        """Move what ``sequence`` holds, ``tokens``, to the shelf; ``sequence`` is empty afterwards.

        A resident that ``tokens`` begin with is replaced: nothing could match it better than its extension, except
        where a state cannot be cut back; there only its equal is.
        """
        held = tuple(tokens)
        least = len(held) if self._policy == "recurrent" else 0
        for resident in [r for r in self._residents if len(r.tokens) >= least and held[: len(r.tokens)] == r.tokens]:
            self._give_up(resident)
        if not self._free:
            self._give_up(self._residents[0])
        shelf = self._free.pop()
        self._context.share(sequence, shelf, len(held))
        self._context.drop(sequence)
        self._residents.append(Resident(shelf, held))

    def evict(self) -> bool:
        """Give up the least recently used resident. False when there is none."""
        if not self._residents:
            return False
        self._give_up(self._residents[0])
        return True

    def _give_up(self, resident: Resident) -> None:
        self._residents.remove(resident)
        self._context.drop(resident.sequence)
        self._free.append(resident.sequence)
