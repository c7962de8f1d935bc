"""Where other threads leave events for the screen: nothing is lost, and many events are one wake-up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """``put`` from any thread; ``wake`` is called when there is something and the last of it was drained."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._lock = threading.Lock()
        self._wake: Callable[[], None] | None = None

    def connect(self, wake: Callable[[], None] | None) -> None:
        """Call ``wake`` from now on, on the thread that puts; at once when something waits. None: nobody listens."""
        with self._lock:
            self._wake = wake
            waiting = bool(self._items)
        if waiting and wake is not None:
            wake()

    def put(self, item: Item) -> None:
        with self._lock:
            self._items.append(item)
            wake = self._wake if len(self._items) == 1 else None
        if wake is not None:
            wake()

    @property
    def empty(self) -> bool:
        with self._lock:
            return not self._items

    def drain(self) -> list[Item]:
        """Take everything, oldest first."""
        with self._lock:
            items, self._items = self._items, []
        return items
