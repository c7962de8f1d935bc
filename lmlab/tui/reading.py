"""A PDF that is read while the screen goes on. Knows nothing of what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import TypeAlias

from textual.message import Message

from lmlab.errors import LmlabError
from lmlab.lab import documents
from lmlab.lab.documents import Document
from lmlab.terminal_text import one_line

Outcome: TypeAlias = Document | LmlabError


class DocumentRead(Message):
    """What came of reading a file."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


class DocumentReading:
    """Reads one file at a time. ``done`` is called on another thread, but not for what was stopped."""

    def __init__(self, done: Callable[[Outcome], object]) -> None:
        self._done = done
        self._path: str | None = None
        self._stop = Event()

    @property
    def line(self) -> str:
        """What is being done, in words; nothing when nothing is."""
        return "" if self._path is None else f"reading {one_line(self._path, 60)} · esc stops"

    def begin(self, path: str) -> None:
        """Read ``path`` in place of what may be under way."""
        self.stop()
        self._path, self._stop = path, Event()
        # A daemon: the file is read in a process of its own, which the end of this one does not wait for.
        Thread(target=self._read, args=(path, self._stop), name="lmlab-document", daemon=True).start()

    def stop(self) -> bool:
        """Return whether there was something to stop."""
        self._stop.set()
        under_way, self._path = self._path is not None, None
        return under_way

    def finish(self) -> None:
        """What was read has arrived."""
        self._path = None

    def _read(self, path: str, stop: Event) -> None:
        outcome: Outcome
        try:
            outcome = documents.read(path, stop)
        except LmlabError as error:
            outcome = error
        if not stop.is_set():
            self._done(outcome)
