"""What a chat asks its model beside replies: what it weighed at a token, how tokens are spelled, how a prompt is encoded.

All of it works while a reply streams. Knows nothing of screens, and changes nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from datetime import UTC, datetime

from lmlab.backends import (
    ChatPrompt,
    Distribution,
    Encode,
    Event,
    EventSink,
    Inspect,
    Message,
    Reweigh,
    Spell,
)
from lmlab.errors import UsageError
from lmlab.lab.answering import Answering
from lmlab.lab.conversation import messages
from lmlab.lab.model_slot import ModelSlot, OpenModel
from lmlab.sampling import SamplingParams
from lmlab.store import Attachment, Reply, Store, TemplateUse, Turn


class Looking:
    """The part of a chat that looks; ``Chat`` has what is declared here.

    Each question's ``sink`` gets one answer or Failed, on the backend's thread; its request id is returned.
    """

    store: Store
    system: str | None
    attachments: tuple[Attachment, ...]
    _answering: Answering
    _slot: ModelSlot

    def __init__(self) -> None:
        super().__init__()
        self._questions: Iterator[int] = itertools.count(1)
        self._seen: tuple[int, int, Distribution] | None = None

    def look(self, turn: Turn, at: int, sampling: SamplingParams, sink: EventSink, top: int = 40) -> str:
        """Ask what the model weighed for token ``at`` of a reply, on any branch: a Distribution.

        One past the last token is where the reply ended. Raises UsageError when ``turn`` is no reply of the model
        that is open, or has no such token.
        """
        model = self._model_to("look into a reply")
        reply = own_reply(turn, model)
        if not 0 <= at <= len(reply.tokens):
            raise UsageError(f"there is no token {at} to look at: the reply has {len(reply.tokens)}")

        def keep(event: Event) -> None:
            if isinstance(event, Distribution):
                self._seen = (turn.id, at, event)
            sink(event)

        said = messages(self._before(turn), reply.system, model.fingerprint)
        drawn = reply.tokens[at] if at < len(reply.tokens) else None
        name = self._name("look")
        question = Inspect(name, _prompt(model, said), reply.tokens[:at], model.asked_of(sampling), top, drawn)
        model.backend.ask(question, keep)
        return name

    def reweigh(self, request_id: str, sampling: SamplingParams, sink: EventSink) -> None:
        """Ask for the Distribution of the last ``look``, whose id this is, at other sampling; one at a time."""
        model = self._model_to("look into a reply")
        model.backend.ask(Reweigh(request_id, model.asked_of(sampling)), sink)

    def spell(self, tokens: tuple[int, ...], sink: EventSink) -> str:
        """Ask for the text of each token by itself: a Spelled."""
        model, name = self._model_to("spell tokens"), self._name("spell")
        model.backend.ask(Spell(name, tokens), sink)
        return name

    def encode(self, text: str, sink: EventSink, prompt: TemplateUse | None = None) -> str:
        """Ask what the model would get if ``text`` were the next message, by way of ``prompt`` if given: an Encoded."""
        return self.encode_messages(self.to_send(text, prompt), sink)

    def to_send(self, text: str, prompt: TemplateUse | None = None) -> tuple[Message, ...]:
        """Return what the model would see if ``text`` were the next message, by way of ``prompt`` if given."""
        model = self._slot.current
        draft = Turn(0, "", None, text, datetime.now(UTC), self.attachments, prompt=prompt)
        return messages((*self._answering.path, draft), self.system, model.fingerprint if model is not None else None)

    def encode_messages(self, said: tuple[Message, ...], sink: EventSink) -> str:
        """Ask what the model would get for ``said``: an Encoded."""
        model, name = self._model_to("see the prompt"), self._name("encode")
        model.backend.ask(Encode(name, _prompt(model, said)), sink)
        return name

    def _before(self, turn: Turn) -> tuple[Turn, ...]:
        """Return the turns that lead to ``turn``."""
        path = self._answering.path
        place = next((index for index, one in enumerate(path) if one.id == turn.id), None)
        return self.store.line(turn.id)[:-1] if place is None else path[:place]

    def _logprob(self, turn: Turn, at: int, token: int) -> float:
        """Return the log-probability of ``token`` there if the last look showed it, else NaN."""
        if self._seen is None or self._seen[:2] != (turn.id, at):
            return math.nan
        shown = (one.probabilities[0] for one in self._seen[2].alternatives if one.token == token)
        probability = next(shown, 0.0)
        return math.log(probability) if probability > 0 else math.nan

    def _model_to(self, to: str) -> OpenModel:
        model = self._slot.current
        if model is None:
            raise UsageError(f"no model is open to {to}: open one with /model REF, or wait until it is there")
        return model

    def _name(self, kind: str) -> str:
        return f"{kind}-{next(self._questions)}"


def own_reply(turn: Turn, model: OpenModel) -> Reply:
    """Return the reply of ``turn``. Raises UsageError unless ``model`` made it and its tokens are known."""
    reply = turn.reply
    if reply is None:
        raise UsageError("that is your own message: choose a reply")
    if reply.fingerprint != model.fingerprint:
        made = (
            f"{reply.model} made that reply: open it with /model {reply.model}" if reply.model else "no model made it"
        )
        raise UsageError(f"{model.file.ref} cannot see into what another model weighed: {made}")
    return reply


def _prompt(model: OpenModel, said: tuple[Message, ...]) -> ChatPrompt:
    return ChatPrompt(said, model.transcript.source if model.transcript else None)
