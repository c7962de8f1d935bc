"""Lines in the order of the input, though rows end in any. Knows nothing of lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class LineOrder:
    """Calls what writes a line when its turn comes; at once when not ``ordered``. Rows count from 0, without a gap."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._turn = 0
        self._held: dict[int, Callable[[], None] | None] = {}

    @property
    def held(self) -> int:
        """How many rows wait for an earlier one."""
        return len(self._held)

    def put(self, number: int, write: Callable[[], None] | None) -> None:
        """Take what writes row ``number``; None when there is nothing to write."""
        if not self._ordered:
            if write is not None:
                write()
            return
        self._held[number] = write
        for ready in self._due():
            if ready is not None:
                ready()

    def flush(self) -> None:
        """Write all that waits, in order: the rows between are not coming."""
        for number in sorted(self._held):
            write = self._held.pop(number)
            if write is not None:
                write()

    def _due(self) -> Iterator[Callable[[], None] | None]:
        while self._turn in self._held:
            yield self._held.pop(self._turn)
            self._turn += 1
