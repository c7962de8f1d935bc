"""The selected turns of a chat, the reply that grows at their end, and who is told. Knows nothing of models or prompts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from lmlab.backends import Event, Failed, Finished
from lmlab.errors import StoreError, UsageError
from lmlab.lab.best_of import Choice
from lmlab.lab.contest import Contest
from lmlab.lab.events import BranchRefused, ChatEvent, Choosing, Chosen
from lmlab.lab.reply import ReplyState
from lmlab.lab.saving import ReplySaver
from lmlab.lab.under_way import ReplyUnderWay
from lmlab.store import Candidacy, Pruned, Reply, Session, Store, Turn


class Answering:
    """``turns`` are as settled: those before the reply under way and, when none is, the last one too.

    ``lock`` orders events, and what the front end changes against them. It is never held while a backend is called:
    closing one waits for its thread, which may be waiting here.
    """

    def __init__(self, store: Store, listener: Callable[[ChatEvent], None], clock: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.turns: tuple[Turn, ...] = ()
        self.reply: ReplyUnderWay | None = None
        self._store = store
        self._listener = listener
        self._saver = ReplySaver(store, self.tell, clock)

    def tell(self, event: ChatEvent) -> None:
        with self.lock:
            self._listener(event)

    @property
    def path(self) -> tuple[Turn, ...]:
        """The selected turns, the reply under way as far as it has come."""
        reply, turns = self.reply, self.turns
        if reply is not None and turns and reply.has(turns[-1]):
            return (*turns[:-1], reply.snapshot())
        return turns

    def siblings(self, turn: Turn) -> tuple[Turn, ...]:
        """Return the turns with the same parent, ``turn`` among them, oldest first; those under way as they stand."""
        with self.lock:
            return self._as_they_stand(self._store.siblings(turn))

    def tree(self, session: str) -> tuple[Turn, ...]:
        """Return all turns of ``session``, oldest first; those under way as they stand."""
        with self.lock:
            return self._as_they_stand(self._store.turns(session))

    def select(self, turn: Turn) -> None:
        """Go on from another turn. Raises UsageError while a reply is under way."""
        self._move(lambda: self._store.select(turn.id))

    def end_at(self, turn: Turn) -> None:
        """Go on from another turn, and from nothing below it. Raises UsageError while a reply is under way."""
        self._move(lambda: self._store.end_at(turn.id))

    def reread(self, session: str) -> None:
        """Go on from what the store has of ``session``. Raises UsageError while a reply is under way."""
        self._move(lambda: self._store.path(session))

    def prune(self, turn: Turn) -> Pruned:
        """Remove ``turn`` and all below it. Raises UsageError for what the reply under way belongs to."""
        with self.lock:
            growing = () if self.reply is None else self.reply.candidates
            if turn.id in {one.id for one in self.turns} | {state.turn.id for state in growing} and growing:
                raise UsageError("a reply is under way there: stop it first")
            with self._store.transaction():
                self._saver.retry()
                pruned = self._store.prune(turn.id)
                path = None if growing else self._store.path(turn.session)
            self.turns = self.turns if path is None else path
        return pruned

    def restore(self, pruned: Pruned) -> None:
        """Put back what was pruned. Raises UsageError while a reply is under way."""

        def put_back() -> tuple[Turn, ...]:
            with self._store.transaction():
                self._store.restore(pruned)
                return self._store.path(pruned.turn.session)

        self._move(put_back)

    def add(self, session: Session, question: Turn, record: Reply, contest: Contest | None) -> ReplyUnderWay:
        """Put the reply to come on disk, a turn for each candidate, the first of them selected; ``begin`` takes it up."""
        self._saver.retry()
        if contest is None:
            turn = self._store.add_turn(session.id, question.id, "", reply=record)
            return ReplyUnderWay([ReplyState(turn, record)], prompt=question.prompt)
        records = [replace(record, candidate=Candidacy(index, contest.count)) for index in range(contest.count)]
        turns = [self._store.add_turn(session.id, question.id, "", reply=one) for one in records]
        self._store.select(turns[0].id)
        drawn = [ReplyState(*one) for one in zip(turns, records, strict=True)]
        return ReplyUnderWay(drawn, contest, question.prompt)

    def begin(self, turns: tuple[Turn, ...], reply: ReplyUnderWay) -> None:
        """Take up what has been committed: ``reply`` follows ``turns``."""
        self.turns = (*turns, reply.turn)
        self.reply = reply
        self._saver.begin()

    def hear(self, reply: ReplyUnderWay, event: Event) -> None:
        """Fold, tell and write an event of ``reply``; one of a reply that is over is late news."""
        with self.lock:
            if self.reply is not reply or event.request_id != reply.request_id:
                return
            reply.fold(event)
            if isinstance(event, Failed) and reply.refused(event) and self._take_back(reply):
                self._listener(BranchRefused(event.request_id, event.error))
                return
            contest = reply.contest if isinstance(event, Finished) else None
            if reply.ended:
                self._settle(reply)
            # The end of several is told once one of them is chosen.
            if contest is None:
                self._listener(event)
            elif contest.takes_long:
                self._listener(Choosing(reply.request_id, str(contest.spec)))
            if reply.ended:
                self._saver.end(reply.candidates)
            else:
                self._saver.grow(reply.candidates)
        if contest is not None:
            contest.choose(lambda choice: self._conclude(reply, choice))
        else:
            reply.spare()

    def leave(self) -> None:
        """End the reply under way, if any, without an event; keep what had arrived."""
        with self.lock:
            reply = self.reply
            if reply is not None:
                reply.give_up()
                self._settle(reply)
                self._saver.end(reply.candidates, reply.turn)
        if reply is not None:
            reply.stop(lambda event: None)

    def flush(self) -> None:
        """Write what could not be written, if it can be now."""
        self._saver.flush()

    def _conclude(self, reply: ReplyUnderWay, choice: Choice) -> None:
        with self.lock:
            if self.reply is not reply:
                return
            end = reply.conclude(choice)
            self._settle(reply)
            self._listener(Chosen(reply.request_id, reply.snapshot()))
            self._listener(end)
            self._saver.end(reply.candidates, reply.turn)

    def _move(self, act: Callable[[], tuple[Turn, ...]]) -> None:
        """Do what changes the selected path and returns it."""
        with self.lock:
            if self.reply is not None:
                raise UsageError("a reply is under way: stop it first")
            self._saver.retry()
            self.turns = act()

    def _take_back(self, reply: ReplyUnderWay) -> bool:
        """Leave nothing of a branch; return whether it is one and could be removed."""
        if reply.back_to is None:
            return False
        try:
            with self._store.transaction():
                self._store.prune(reply.turn.id)
                turns = self._store.select(reply.back_to.id)
        except StoreError:
            return False
        self.reply = None
        self.turns = turns
        return True

    def _as_they_stand(self, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        growing = () if self.reply is None else self.reply.candidates
        live = {state.turn.id: state for state in growing}
        return tuple(live[turn.id].snapshot() if turn.id in live else turn for turn in turns)

    def _settle(self, reply: ReplyUnderWay) -> None:
        # In this order: ``path``, read meanwhile, shows the ended reply either way.
        self.turns = (*self.turns[:-1], reply.snapshot())
        self.reply = None
