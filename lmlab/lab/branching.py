"""The tree of a chat: going on from elsewhere in it, removing a branch and taking that back, its name.

Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import replace

from lmlab.errors import UsageError
from lmlab.lab.answering import Answering
from lmlab.store import Pruned, Session, Store, Turn


class Branching:
    """The part of a chat that walks and prunes; ``Chat`` has what is declared here."""

    store: Store
    session: Session | None
    system: str | None
    _answering: Answering

    def __init__(self) -> None:
        self._pruned: list[Pruned] = []

    @property
    def pruned(self) -> tuple[Pruned, ...]:
        """What was pruned from this session and can be restored, the latest last."""
        return tuple(self._pruned)

    def tree(self) -> tuple[Turn, ...]:
        """Return all turns of the session, oldest first, those under way as they stand."""
        return () if self.session is None else self._answering.tree(self.session.id)

    def siblings(self, turn: Turn) -> tuple[Turn, ...]:
        """Return the turns with the same parent, ``turn`` among them, oldest first."""
        return self._answering.siblings(turn)

    def select(self, turn: Turn) -> None:
        """Go on from another turn of the session, and from what was last selected below it. Raises UsageError while a
        reply is under way."""
        self._session_of(turn)
        self._answering.select(turn)

    def fork(self, turn: Turn) -> None:
        """Let the conversation end at the reply ``turn``: the next message is another child of it. Raises UsageError."""
        if turn.reply is None:
            raise UsageError("that is your own message: edit it, or fork after a reply")
        self._session_of(turn)
        self._answering.end_at(turn)

    def prune(self, turn: Turn) -> Pruned:
        """Remove ``turn`` and all below it; ``restore`` takes that back.

        The conversation goes on at the nearest sibling if it led there, else it ends at the parent. Raises UsageError
        for what a reply under way belongs to.
        """
        self._session_of(turn)
        pruned = self._answering.prune(turn)
        self._pruned.append(pruned)
        return pruned

    def restore(self, pruned: Pruned) -> None:
        """Put back what ``prune`` removed, as it was. Raises UsageError while a reply is under way."""
        self._answering.restore(pruned)
        self._pruned = [one for one in self._pruned if one is not pruned]

    def reread(self) -> bool:
        """Take in what another program has made of the session; return whether the messages say something else now.

        Raises UsageError while a reply is under way, StoreError.
        """
        if self.session is None:
            return False
        before = [(turn.id, turn.content) for turn in self._answering.turns]
        session = self.store.session(self.session.id)
        self._answering.reread(session.id)
        self.session, self.system = session, session.system
        return [(turn.id, turn.content) for turn in self._answering.turns] != before

    def rename(self, title: str) -> None:
        """Call the session ``title``. Raises UsageError when there is none yet, or nothing is left to call it."""
        name = " ".join(title.split())
        if not name:
            raise UsageError("a session needs a title: give one")
        if self.session is None:
            raise UsageError("there is no session to rename yet: send a message first")
        self.store.rename(self.session.id, name)
        self.session = replace(self.session, title=name)

    def _session_of(self, turn: Turn) -> Session:
        if self.session is None or self.session.id != turn.session:
            raise UsageError("that message is of another session: open that one first")
        return self.session
