"""The reply under way and where it is being made. Knows nothing of sessions or of who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from lmlab import __version__
from lmlab.backends import ChatPrompt, Event, Finished, Handle, Message, Request, Started, Timings, Usage
from lmlab.lab.model_slot import OpenModel
from lmlab.lab.reply import ReplyState
from lmlab.sampling import SamplingParams
from lmlab.store import Reply, Turn

NOTHING_MEASURED = Timings(ttft_s=None, prefill_tokens_per_s=None, decode_tokens_per_s=None, total_s=0.0)


class ReplyUnderWay(ReplyState):
    """A reply that waits for a model (``model`` is None), or that ``model`` is making."""

    def __init__(self, turn: Turn, record: Reply) -> None:
        super().__init__(turn, record)
        self.model: OpenModel | None = None
        self._handle: Handle | None = None
        self._sent: SamplingParams | None = None
        self._stop_asked = False
        self._following = threading.Lock()

    def request(
        self, model: OpenModel, asked: SamplingParams, messages: tuple[Message, ...], session: str | None
    ) -> Request:
        """Take ``model`` for this reply, in ``session``, and return what it is asked."""
        self.model = model
        self._sent = model.asked_of(asked)
        self.record = replace(self.record, asked=asked, model=model.file.ref, fingerprint=model.fingerprint)
        template = model.transcript.source if model.transcript else None
        return Request(self.request_id, ChatPrompt(messages, template), self._sent, session=session)

    def begun(self, handle: Handle, asked: Callable[[], SamplingParams]) -> None:
        """Take the request's ``handle``, and catch up on what was wanted before it was there."""
        self._handle = handle
        if self._stop_asked:
            handle.cancel()
        else:
            self.follow(asked)

    def follow(self, asked: Callable[[], SamplingParams]) -> None:
        """Go on, from the next token, with what is asked; looked up here, so that of two threads the later is right."""
        with self._following:
            if self.model is None or self._handle is None:
                return
            sampling = self.model.asked_of(asked())
            if sampling != self._sent:
                self._sent = sampling
                self._handle.update(sampling)

    def stop(self, tell: Callable[[Event], None]) -> bool:
        """Have it end soon; return whether this is the first time. One that no model has begun ends here: its Finished
        goes to ``tell``.
        """
        first, self._stop_asked = not self._stop_asked, True
        if self._handle is not None:
            self._handle.cancel()
        elif self.model is None:
            tell(Finished(self.request_id, "cancelled", "", (), Usage(0, 0, 0), NOTHING_MEASURED, context_used=0))
        return first

    def fold(self, event: Event) -> None:
        info = self.model.info if self.model else None
        if info is not None and isinstance(event, Started | Finished):
            self.record = replace(self.record, template_hash=info.template_hash, versions=(__version__, info.llama_cpp))
        super().fold(event)
