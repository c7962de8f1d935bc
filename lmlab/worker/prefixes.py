"""Which requests begin with what lies on disk, and which leave their prefix there.

Knows nothing of files or of the engine's memory.
"""

from __future__ import annotations

from collections.abc import Callable

from lmlab.engine import EngineEvent, EngineRequest, Restorable, Saved, Scales
from lmlab.engine.request import Ended, Refused
from lmlab.worker.snapshots import SMALLEST, SnapshotStore

SMALLEST_ALONE = 512
"""Tokens: a prompt that belongs to no session is kept for the next one that begins alike if it is at least a document."""

FLUSH_S = 1.5
"""Seconds that an ending worker takes at most to write what it still has; the parent is patient for two."""


class Prefixes:
    """The disk tier of one model. ``store`` None is none; ``key`` names the model at given LoRA scales."""

    def __init__(self, store: SnapshotStore | None, key: Callable[[Scales], str]) -> None:
        self._store = store
        self._key = key
        self._sessions: dict[str, str | None] = {}

    def find(self, tokens: tuple[int, ...], scales: Scales) -> Restorable | None:
        """Return what on disk begins with most of ``tokens``."""
        if self._store is None or len(tokens) < SMALLEST:
            return None
        # The last token is decoded again, for its logits.
        found = self._store.find(tokens[:-1], self._key(scales))
        return None if found is None else Restorable(found.tokens, found.length, found.read)

    def wanted(self, session: str | None, tokens: int) -> bool:
        """Whether a request's state is to be kept when it ends."""
        return self._store is not None and (session is not None or tokens >= SMALLEST_ALONE)

    def begin(self, request: EngineRequest, session: str | None) -> None:
        """``request`` is about to run, for ``session``."""
        if request.save:
            self._sessions[request.id] = session

    def take(self, event: EngineEvent) -> bool:
        """Take in an event; return whether it was meant for nobody else."""
        if isinstance(event, Saved):
            if self._store is not None and len(event.tokens) >= SMALLEST:
                session = self._sessions.get(event.request_id)
                self._store.offer(session, self._key(event.scales), event.tokens, event.payload, branch=event.branch)
            return True
        if isinstance(event, Refused) or (isinstance(event, Ended) and event.candidate == 0):
            self._sessions.pop(event.request_id, None)
        return False

    def flush(self) -> None:
        """Write what is still to be written, within moments."""
        if self._store is not None:
            self._store.flush(FLUSH_S)
