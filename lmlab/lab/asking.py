"""How a chat asks for a reply: to a new message, to another wording of an old one, again, or from a token on.

Knows nothing of how models are opened or what draws with which sampling.
"""

from __future__ import annotations

from collections.abc import Callable

from lmlab.backends import Constraint, Failed
from lmlab.errors import UsageError
from lmlab.lab.answering import Answering
from lmlab.lab.best_of import SelectorSpec
from lmlab.lab.branching import Branching
from lmlab.lab.chat_prompts import ChatPrompts
from lmlab.lab.chooser import Chooser
from lmlab.lab.constraints import with_a_way_out
from lmlab.lab.contest import Contest
from lmlab.lab.conversation import messages, refused
from lmlab.lab.events import ChatEvent, Drawing, Notice
from lmlab.lab.looking import Looking, own_reply
from lmlab.lab.model_slot import ModelSlot
from lmlab.lab.under_way import ReplyUnderWay
from lmlab.sampling import SamplingParams
from lmlab.store import Attachment, Branch, Reply, Session, Store, Turn


class Asking(Looking, Branching):
    """The part of a chat that asks; ``Chat`` has what is declared here."""

    store: Store
    session: Session | None
    system: str | None
    asked: SamplingParams
    constraint: Constraint | None
    attachments: tuple[Attachment, ...]
    best_of: int
    prompts: ChatPrompts
    _answering: Answering
    _slot: ModelSlot
    _chooser: Chooser
    _tell: Callable[[ChatEvent], None]

    @property
    def selector(self) -> SelectorSpec:
        """What chooses where several candidates are drawn."""
        return self._chooser.spec

    def send(self, text: str) -> None:
        """Put the user's turn on disk and ask for a reply; it waits for a model that is not there yet.

        Raises StoreError, with nothing changed, so that the caller keeps the text; UsageError when a reply is under
        way, there is no model, or there is nothing to send.
        """
        self._may_reply()
        _check(text, self.attachments)
        use = self.prompts.use(text, self.attachments)
        left_out = bool(self._answering.turns) and refused(self._answering.turns[-1])
        with self._answering.lock:
            session, before = self.session, self._answering.turns
            with self.store.transaction():
                if session is None:
                    session = self.store.create_session(system=self.system)
                parent = before[-1].id if before else None
                question = self.store.add_turn(session.id, parent, text, attachments=self.attachments, prompt=use)
                reply = self._add_reply(session, question)
                session = self.store.session(session.id)
            self._begin(session, (*before, question), reply)
            self.attachments = ()
        if left_out:
            self._tell(Notice("the message before, which could not be sent, is left out of what the model sees"))
        self._dispatch(reply)

    def edit(self, turn: Turn, text: str) -> None:
        """Put another message beside the user's ``turn``, with its files and through its template, and ask for a reply.

        What was there stays in the tree. Raises as ``send`` does, and UsageError for a turn that is the model's.
        """
        self._may_reply()
        session = self._session_of(turn)
        if turn.reply is not None:
            raise UsageError("a reply cannot be edited: edit the message before it, or ask for another reply")
        _check(text, turn.attachments)
        use = self.prompts.use_again(turn.prompt, text, turn.attachments)
        with self._answering.lock:
            with self.store.transaction():
                question = self.store.add_turn(session.id, turn.parent, text, attachments=turn.attachments, prompt=use)
                reply = self._add_reply(session, question)
                before = self.store.line(question.id)
            self._begin(session, before, reply)
        self._dispatch(reply)

    def regenerate(self) -> None:
        """Ask for another reply to the last question; the one there stays in the tree. Raises as ``send`` does."""
        self._may_reply()
        turns = self._answering.turns
        if turns and turns[-1].reply is not None:
            turns = turns[:-1]
        session = self.session
        if not turns or session is None:
            raise UsageError("there is nothing to answer again: send a message first")
        with self._answering.lock:
            with self.store.transaction():
                reply = self._add_reply(session, turns[-1])
            self._begin(session, turns, reply)
        self._dispatch(reply)

    def branch(self, turn: Turn, at: int, token: int) -> None:
        """Ask for another reply to the question of ``turn``: its first ``at`` tokens, then ``token``, then drawn on.

        It is one reply, however many are drawn else, with the system prompt that ``turn`` had. Raises UsageError when
        ``turn`` is no whole reply of the model that is open; BranchRefused follows when what holds the reply, a grammar
        say, forbids the token.
        """
        self._may_reply()
        session = self._session_of(turn)
        if self._slot.opening:
            raise UsageError("another model is being opened: wait until it is there")
        source = own_reply(turn, self._model_to("branch a reply"))
        if source.status != "done" or source.finish_reason == "error":
            raise UsageError("that reply was cut off, its tokens may not be whole: ask for another reply instead")
        if not 0 <= at <= len(source.tokens):
            raise UsageError(f"no branch at token {at}: the reply has {len(source.tokens)}")
        known = None if source.logprobs is None else (*source.logprobs[:at], self._logprob(turn, at, token))
        record = Reply(
            asked=self.asked,
            system=source.system,
            constraint=source.constraint,
            tokens=(*source.tokens[:at], token),
            logprobs=known,
            branch=Branch(turn.id, at),
        )
        with self._answering.lock:
            with self.store.transaction():
                before = self._before(turn)
                reply = self._answering.add(session, before[-1], record, None)
            reply.back_to = self._answering.turns[-1] if self._answering.turns else turn
            self._begin(session, before, reply)
        self._dispatch(reply)

    def stop(self) -> bool:
        """End the reply under way; what has arrived stays. Return whether there was one to stop, not stopped before."""
        reply = self._answering.reply
        return reply is not None and reply.stop(lambda event: self._answering.hear(reply, event))

    def _may_reply(self) -> None:
        if self._answering.reply is not None:
            raise UsageError("a reply is under way: wait for it, or stop it first")
        if self._slot.current is None and not self._slot.opening:
            raise _no_model()

    def _add_reply(self, session: Session, question: Turn) -> ReplyUnderWay:
        contest = None
        if self.best_of > 1:
            read_answer = self.prompts.reader(question.prompt)
            contest = Contest(self.best_of, self.selector, self._chooser.open, read_answer)
        return self._answering.add(
            session, question, Reply(asked=self.asked, system=self.system, constraint=self.constraint), contest
        )

    def _begin(self, session: Session, turns: tuple[Turn, ...], reply: ReplyUnderWay) -> None:
        self.session = session
        self._answering.begin(turns, reply)

    def _dispatch(self, reply: ReplyUnderWay) -> None:
        """Hand the request to the backend if there is one; else it is done again when there is."""
        with self._answering.lock:
            if self._answering.reply is not reply or reply.model is not None or self._slot.opening:
                return
            model = self._slot.current
            if model is None:
                # Opening it failed just after ``send`` had looked.
                self._answering.hear(reply, Failed(reply.request_id, _no_model()))
                return
            said = messages(self._answering.turns[:-1], reply.system, model.fingerprint)
            session = None if self.session is None else self.session.id
            request = reply.request(model, self.asked, said, session)
            if request.candidates > 1:
                self._tell(Drawing(request.id, request.candidates))
        held = request.constraint
        handle = model.backend.generate(request, lambda event: self._answering.hear(reply, with_a_way_out(event, held)))
        reply.begun(handle, lambda: self.asked)


def _check(text: str, attachments: tuple[Attachment, ...]) -> None:
    if not text.strip() and not attachments:
        raise UsageError("there is nothing to send: type a message")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the message has a character that is no Unicode text: remove it and send again") from None


def _no_model() -> UsageError:
    return UsageError("no model is open: open one with /model REF")
