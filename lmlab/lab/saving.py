"""When a growing reply goes to disk, and what becomes of one that cannot. Knows nothing of models or prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmlab.errors import StoreError
from lmlab.lab.events import SaveFailed
from lmlab.lab.reply import ReplyState
from lmlab.store import Store, Turn

SAVE_EVERY_S = 0.4


class ReplySaver:
    """Writes one reply at a time, all its candidates. A failure is told once while it grows and once at its end;
    nothing is given up.
    """

    def __init__(self, store: Store, tell: Callable[[SaveFailed], None], clock: Callable[[], float]) -> None:
        self._store = store
        self._tell = tell
        self._clock = clock
        self._saved_at = 0.0
        self._told = False
        self._ended: set[int] = set()
        self._unsaved: dict[int, Turn] = {}
        self._unselected: Turn | None = None

    def begin(self) -> None:
        """Start anew for the next reply; all before it is on disk."""
        self._unsaved.clear()
        self._unselected = None
        self._ended.clear()
        self._told = False
        self._saved_at = self._clock()

    def grow(self, candidates: Sequence[ReplyState]) -> None:
        """Write the candidates that have just ended, and the others if they were last written a while ago."""
        due = self._clock() - self._saved_at >= SAVE_EVERY_S
        states = [state for state in candidates if state.turn.id not in self._ended and (due or state.ended)]
        if not states:
            return
        try:
            self._write([state.snapshot() for state in states])
            self._ended.update(state.turn.id for state in states if state.ended)
        except StoreError as error:
            if not self._told:
                self._tell(SaveFailed(error))
            self._told = True
        if due:
            self._saved_at = self._clock()

    def end(self, candidates: Sequence[ReplyState], selected: Turn | None = None) -> None:
        """Write all candidates for good, and select the turn ``selected`` if it is another than before."""
        turns = [state.snapshot() for state in candidates]
        try:
            self._write(turns, selected)
        except StoreError as error:
            self._unsaved = {turn.id: turn for turn in turns}
            self._unselected = selected
            self._tell(SaveFailed(error))

    def retry(self) -> None:
        """Write what could not be written before. Raises StoreError; call ``begin`` once it is committed."""
        if self._unsaved:
            self._write(list(self._unsaved.values()), self._unselected)

    def flush(self) -> None:
        """Try once more, for there will be no next reply."""
        try:
            self.retry()
        except StoreError as error:
            self._tell(SaveFailed(error))

    def _write(self, turns: Sequence[Turn], selected: Turn | None = None) -> None:
        with self._store.transaction():
            for turn in turns:
                assert turn.reply is not None
                self._store.save_reply(turn.id, turn.content, turn.reply)
            if selected is not None:
                self._store.select(selected.id)
