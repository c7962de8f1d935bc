"""A reply under way: the fold of its events into the record that is kept. Knows nothing of stores, models or threads."""

from __future__ import annotations

from dataclasses import replace

from lmlab.backends import Applied, Event, Failed, Finished, FinishReason, Prefill, Started, Token, Usage
from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams
from lmlab.store import Change, Reply, Turn


class ReplyState:
    """What has arrived of the reply ``turn``. ``record`` holds what was known before it began."""

    def __init__(self, turn: Turn, record: Reply) -> None:
        self.turn = turn
        self.record = record
        self.request_id = f"reply-{turn.id}"
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.prefilled = 0
        self.sampling: SamplingParams | None = None
        self.tokens: list[int] = []
        self._pieces: list[str] = []
        self._changes: list[Change] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def ended(self) -> bool:
        return self.record.status == "done"

    def fold(self, event: Event) -> None:
        """Take in the next event of this reply's request."""
        match event:
            case Started():
                self.prompt_tokens, self.cached_tokens = event.prompt_tokens, event.cached_tokens
                self.sampling = event.sampling
            case Prefill():
                self.prefilled = event.done
            case Token():
                self.tokens.append(event.id)
                self._pieces.append(event.text)
            case Applied():
                self.sampling = event.sampling
                self._changes += [(event.at_token, *change) for change in event.changes]
            case Finished():
                self._pieces.append(event.tail)
                self.tokens = list(event.tokens)
                self.end(event.reason)
                self.record = replace(
                    self.record, usage=event.usage, timings=event.timings, context_used=event.context_used
                )
            case Failed():
                self.end("error", event.error)

    def end(self, reason: FinishReason, error: LmlabError | None = None) -> None:
        """Close the record over what has arrived."""
        self.record = replace(
            self._grown(),
            status="done",
            finish_reason=reason,
            error=None if error is None else str(error),
            error_type=None if error is None else type(error).__name__,
        )

    def snapshot(self) -> Turn:
        """Return the turn as it stands."""
        return replace(self.turn, content=self.text, reply=self._grown())

    def _grown(self) -> Reply:
        usage = self.record.usage
        if not self.ended and self.prompt_tokens is not None:
            usage = Usage(self.prompt_tokens, self.cached_tokens or 0, len(self.tokens))
        return replace(
            self.record,
            tokens=tuple(self.tokens),
            sampling=self.sampling,
            changes=tuple(self._changes),
            usage=usage,
        )
