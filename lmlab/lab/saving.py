"""When a growing reply goes to disk, and what becomes of one that cannot. Knows nothing of models or prompts."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.errors import StoreError
from lmlab.lab.events import SaveFailed
from lmlab.lab.reply import ReplyState
from lmlab.store import Store, Turn

SAVE_EVERY_S = 0.4


class ReplySaver:
    """Writes one reply at a time. A failure is told once while it grows and once at its end; nothing is given up."""

    def __init__(self, store: Store, tell: Callable[[SaveFailed], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._tell = tell
        self._clock = clock
        self._saved_at = 0.0
        self._told = False
        self._unsaved: dict[int, Turn] = {}

    def begin(self) -> None:
        """Start anew for the next reply; all before it is on disk."""
        self._unsaved.clear()
        self._told = False
        self._saved_at = self._clock()

    def save(self, reply: ReplyState) -> None:
        """Write ``reply`` if it has ended or was last written a while ago."""
        if not reply.ended and self._clock() - self._saved_at < SAVE_EVERY_S:
            return
        turn = reply.snapshot()
        try:
            self._write(turn)
        except StoreError as error:
            if reply.ended:
                self._unsaved[turn.id] = turn
            if reply.ended or not self._told:
                self._tell(SaveFailed(error))
            self._told = True
        self._saved_at = self._clock()

    def retry(self) -> None:
        """Write what could not be written before. Raises StoreError; call ``begin`` once it is committed."""
        for turn in self._unsaved.values():
            self._write(turn)

    def flush(self) -> None:
        """Try once more, for there will be no next reply."""
        try:
            self.retry()
        except StoreError as error:
            self._tell(SaveFailed(error))

    def _write(self, turn: Turn) -> None:
        assert turn.reply is not None
        self._store.save_reply(turn.id, turn.content, turn.reply)
