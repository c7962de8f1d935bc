"""Which sessions are shown: those of the store that a search leaves, and those that are about to be removed.

Knows nothing of Textual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmlab.store import Found, Session, Snippet, Store, snapshot_files


@dataclass(frozen=True, slots=True)
class SessionRow:
    """``messages`` on the selected path, bytes that snapshots take, and what a search found.

    ``removed``: it goes for good when the list is left.
    """

    session: Session
    messages: int
    snapshot_bytes: int
    match: Snippet | None = None
    removed: bool = False


class SessionBook:
    """Call ``load`` before anything else, and ``carry_out`` at the end. ``snapshots`` is the folder they are in."""

    def __init__(self, store: Store, snapshots: Path) -> None:
        self._store = store
        self._snapshots = snapshots
        self._sessions: tuple[Session, ...] = ()
        self._lengths: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._found: dict[str, Found] | None = None
        self._removed: list[str] = []

    @property
    def count(self) -> int:
        """How many there are in all, but for those about to go."""
        return len(self._sessions) - len(self._removed)

    @property
    def searching(self) -> bool:
        return self._found is not None

    @property
    def removed(self) -> tuple[str, ...]:
        """The ids of those about to go, the latest last."""
        return tuple(self._removed)

    @property
    def rows(self) -> tuple[SessionRow, ...]:
        """The rows to show, the session written to last first."""
        return tuple(
            self._row(session) for session in self._sessions if self._found is None or session.id in self._found
        )

    def load(self) -> None:
        """Read the store anew. Raises StoreError."""
        self._sessions = self._store.sessions()
        self._lengths = self._store.lengths()
        self._sizes = snapshot_files.sizes(self._snapshots)
        there = {session.id for session in self._sessions}
        self._removed = [name for name in self._removed if name in there]

    def narrow(self, found: Sequence[Found] | None) -> None:
        """Leave only what a search found; None: all of them."""
        self._found = None if found is None else {one.session.id: one for one in found}

    def remove(self, name: str) -> None:
        """Let the session ``name`` go when the list is left."""
        if name not in self._removed:
            self._removed.append(name)

    def bring_back(self) -> str | None:
        """Take the last removal back and return whose it was; None when there is none."""
        return self._removed.pop() if self._removed else None

    def carry_out(self) -> tuple[str, ...]:
        """Remove for good what is to go, snapshots too, and return their ids. Raises StoreError, with nothing removed."""
        gone = tuple(self._removed)
        if gone:
            with self._store.transaction():
                for name in gone:
                    self._store.remove(name)
            self._removed.clear()
            for name in gone:
                snapshot_files.remove(self._snapshots, name)
        return gone

    def _row(self, session: Session) -> SessionRow:
        found = None if self._found is None else self._found[session.id]
        return SessionRow(
            session,
            self._lengths.get(session.id, 0),
            self._sizes.get(session.id, 0),
            found.snippet if found is not None else None,
            session.id in self._removed,
        )
