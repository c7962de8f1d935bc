"""The rows of a stream, read on a thread of its own: what is done with those that are there waits for no further one.

Knows nothing of what is in a row.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from lmlab.lab.batch.row import BadRow, Row

_AHEAD = 64
"""Rows that are read before they are wanted."""

# Windows runs signal handlers only between waits: a wait without end would not see Ctrl-C there.
_WAIT_S = 0.2


class _End:
    """No row follows."""


_Item: TypeAlias = Row | BadRow | BaseException | _End


class RowFeed:
    """Iterate once, on one thread. ``arrived`` is called on another one when there is something again after a None.

    While it ``waits``, until ``stopped`` says otherwise, it gives only rows; then None, too, where none is there yet.
    """

    def __init__(self, rows: Iterable[Row | BadRow], arrived: Callable[[], None], stopped: Callable[[], bool]) -> None:
        self.waits = True
        self._arrived = arrived
        self._stopped = stopped
        self._closed = False
        self._missed = False
        self._read: queue.Queue[_Item] = queue.Queue(_AHEAD)
        # A daemon: nothing ends a read from a pipe that nobody writes to.
        threading.Thread(target=self._run, args=(rows,), name="lmlab-rows", daemon=True).start()

    def __iter__(self) -> Iterator[Row | BadRow | None]:
        while True:
            try:
                item = self._read.get(timeout=_WAIT_S) if self.waits else self._read.get_nowait()
            except queue.Empty:
                # Told of from now on; what came just before is not overlooked.
                self._missed = not self.waits or self._stopped()
                if self._missed and self._read.empty():
                    yield None
                continue
            if isinstance(item, _End):
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Read no further than the next row."""
        self._closed = True
        while not self._read.empty():
            self._read.get_nowait()

    def _run(self, rows: Iterable[Row | BadRow]) -> None:
        last: _Item = _End()
        try:
            for row in rows:
                self._put(row)
                if self._closed:
                    return
        except Exception as error:  # noqa: BLE001 - raised again where the rows are taken
            last = error
        self._put(last)

    def _put(self, item: _Item) -> None:
        self._read.put(item)
        if self._missed:
            self._missed = False
            self._arrived()
