"""The reply under way, of one or several candidates, and where it is being made. Knows nothing of sessions or of who
listens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from lmlab import __version__
from lmlab.backends import ChatPrompt, Event, Failed, Finished, Handle, Message, Request, Started, Timings, Usage
from lmlab.errors import UsageError
from lmlab.lab.chat_prompts import asked_through
from lmlab.lab.contest import Contest
from lmlab.lab.model_slot import OpenModel
from lmlab.lab.reply import ReplyState
from lmlab.lab.selectors.candidates import Choice
from lmlab.sampling import SamplingParams
from lmlab.store import Candidacy, TemplateUse, Turn

NOTHING_MEASURED = Timings(ttft_s=None, prefill_tokens_per_s=None, decode_tokens_per_s=None, total_s=0.0)


class ReplyUnderWay:
    """A reply that waits for a model (``model`` is None), or that ``model`` is making.

    ``candidates`` has one state for each turn that is drawn; ``turn`` is the one that is shown, the first until
    another is chosen. A ``contest`` is there where several are drawn: it chooses once all have ended. ``prompt`` is the
    template that the question went through. ``back_to`` is the turn that the chat goes on from if this one, a branch,
    cannot even begin.
    """

    def __init__(
        self, candidates: Sequence[ReplyState], contest: Contest | None = None, prompt: TemplateUse | None = None
    ) -> None:
        self.back_to: Turn | None = None
        self.candidates = tuple(candidates)
        self.contest = contest
        self.prompt = prompt
        self.request_id = f"reply-{self.candidates[0].turn.id}"
        self.model: OpenModel | None = None
        self.finished: Finished | None = None
        self.ended = False
        self._shown = self.candidates[0]
        self._handle: Handle | None = None
        self._sent: SamplingParams | None = None
        self._stop_asked = False
        self._following = threading.Lock()

    @property
    def turn(self) -> Turn:
        return self._shown.turn

    @property
    def system(self) -> str | None:
        """The system prompt that it is made with."""
        return self.candidates[0].record.system

    def refused(self, event: Event) -> bool:
        """Whether it ends with ``event`` before it began, for what was wrong with what was asked."""
        return isinstance(event, Failed) and isinstance(event.error, UsageError) and self.candidates[0].sampling is None

    def has(self, turn: Turn) -> bool:
        """Whether ``turn`` is one of the candidates."""
        return any(state.turn.id == turn.id for state in self.candidates)

    def snapshot(self) -> Turn:
        """Return the shown turn as it stands."""
        return self._shown.snapshot()

    def request(
        self, model: OpenModel, asked: SamplingParams, messages: tuple[Message, ...], session: str | None
    ) -> Request:
        """Take ``model`` for this reply, in ``session``, and return what it is asked."""
        self.model = model
        self._sent = self._asked_of(model, asked)
        for state in self.candidates:
            state.record = replace(state.record, asked=asked, model=model.file.ref, fingerprint=model.fingerprint)
        if self.contest is not None:
            self.contest.begin(messages, model.backend)
        template = model.transcript.source if model.transcript else None
        return Request(
            self.request_id,
            ChatPrompt(messages, template),
            self._sent,
            logprobs=True,
            candidates=len(self.candidates),
            constraint=self.candidates[0].record.constraint,
            session=session,
            reply=self.candidates[0].record.tokens,
        )

    def begun(self, handle: Handle, asked: Callable[[], SamplingParams]) -> None:
        """Take the request's ``handle``, and catch up on what was wanted before it was there."""
        self._handle = handle
        if self._stop_asked:
            handle.cancel()
        else:
            self.follow(asked)
            self.spare()

    def follow(self, asked: Callable[[], SamplingParams]) -> None:
        """Go on, from the next token, with what is asked; looked up here, so that of two threads the later is right."""
        with self._following:
            if self.model is None or self._handle is None:
                return
            sampling = self._asked_of(self.model, asked())
            if sampling != self._sent:
                self._sent = sampling
                self._handle.update(sampling)

    def spare(self) -> None:
        """Cancel the candidates that can no longer change the choice."""
        if self.contest is None or self._handle is None:
            return
        for index in self.contest.take_needless():
            self._handle.cancel(index)

    def stop(self, tell: Callable[[Event], None]) -> bool:
        """Have it end soon; return whether there is more to stop than before. One that no model has begun ends here:
        its Finished goes to ``tell``.
        """
        if self.finished is not None and self.contest is not None:
            return self.contest.stop()
        first, self._stop_asked = not self._stop_asked, True
        if self._handle is not None:
            self._handle.cancel()
        elif self.model is None:
            tell(Finished(self.request_id, "cancelled", "", (), Usage(0, 0, 0), NOTHING_MEASURED, context_used=0))
        return first

    def fold(self, event: Event) -> None:
        """Take in the next event; after a Finished of several candidates, ``conclude`` ends the reply."""
        info = self.model.info if self.model else None
        for state in self.candidates:
            if info is not None and isinstance(event, Started | Finished):
                state.record = replace(
                    state.record, template_hash=info.template_hash, versions=(__version__, info.llama_cpp)
                )
            state.fold(event)
        if isinstance(event, Finished):
            self.finished = event
        if self.contest is not None:
            self.contest.fold(event)
        self.ended = isinstance(event, Failed) or (isinstance(event, Finished) and self.contest is None)

    def conclude(self, choice: Choice) -> Finished:
        """Show the candidate that was chosen, record what was said of each, and return the end of the chosen one."""
        assert self.finished is not None
        self._record(choice)
        self.ended = True
        reply = self._shown.snapshot().reply
        assert reply is not None
        return replace(
            self.finished,
            reason=reply.finish_reason or "cancelled",
            tokens=reply.tokens,
            context_used=reply.context_used or 0,
        )

    def give_up(self) -> None:
        """End it as it stands; of candidates that have ended, the most probable is shown."""
        for state in self.candidates:
            if not state.ended:
                state.end("cancelled")
        if self.contest is not None:
            self._record(self.contest.unchosen())
        self.ended = True

    def _asked_of(self, model: OpenModel, asked: SamplingParams) -> SamplingParams:
        return model.asked_of(asked_through(self.prompt, asked, base=model.transcript is not None))

    def _record(self, choice: Choice) -> None:
        judged = {candidate.index: candidate for candidate in choice.candidates}
        for state in self.candidates:
            known = state.record.candidate or Candidacy(state.index, len(self.candidates))
            if (said := judged.get(state.index)) is not None:
                known = replace(known, logprob=said.logprob, score=said.score, note=said.note)
            if state.index == choice.selected:
                self._shown = state
                known = replace(known, chosen=True, selector=choice.selector or None, why=choice.why)
            state.record = replace(state.record, candidate=known)
