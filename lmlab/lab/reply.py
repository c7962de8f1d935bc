"""A reply under way, or one candidate of it: the fold of events into the record that is kept.

Knows nothing of stores, models or threads.
"""

from __future__ import annotations

from array import array
from dataclasses import replace

from lmlab.backends import (
    Applied,
    CandidateEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefill,
    Started,
    Token,
    Usage,
)
from lmlab.errors import LmlabError
from lmlab.sampling import SamplingParams
from lmlab.store import Change, Reply, Turn


class ReplyState:
    """What has arrived of the reply ``turn``. ``record`` holds what was known before it began, also whether it is one
    candidate of several: then the others' tokens are nothing to it. Its ``tokens`` are what the reply begins with.
    """

    def __init__(self, turn: Turn, record: Reply) -> None:
        self.turn = turn
        self.record = record
        self.prompt_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.prefilled = 0
        self.sampling: SamplingParams | None = None
        self.tokens = list(record.tokens)
        self._begun = len(record.tokens)
        # In the store's precision: what is kept is what was shown.
        self._logprobs = array("f", record.logprobs or ())
        self._pieces: list[str] = []
        self._changes: list[Change] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def index(self) -> int:
        """Which candidate this is."""
        return self.record.candidate.index if self.record.candidate else 0

    @property
    def ended(self) -> bool:
        return self.record.status == "done"

    def fold(self, event: Event) -> None:
        """Take in the next event of the request."""
        match event:
            case Started():
                self.prompt_tokens, self.cached_tokens = event.prompt_tokens, event.cached_tokens
                self.sampling = event.sampling
                self._pieces = [event.text]
            case Prefill():
                self.prefilled = event.done
            case Token():
                if event.candidate == self.index:
                    self.tokens.append(event.id)
                    if event.logprob is not None:
                        self._logprobs.append(event.logprob)
                    self._pieces.append(event.text)
            case CandidateEnded():
                if event.candidate == self.index:
                    self._end_candidate(event)
            case Applied() if not self.ended:
                self.sampling = event.sampling
                self._changes += [(event.at_token, *change) for change in event.changes]
            case Finished() if self.record.candidate is not None:
                self._end_among_others(event)
            case Finished():
                self._pieces.append(event.tail)
                self.tokens = list(event.tokens)
                self.end(event.reason)
                self.record = replace(
                    self.record, usage=event.usage, timings=event.timings, context_used=event.context_used
                )
            case Failed() if not self.ended:
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

    def _end_candidate(self, event: CandidateEnded) -> None:
        self._pieces.append(event.tail)
        self.tokens = list(event.tokens)
        self.end(event.reason)
        if self.record.candidate is not None:
            self.record = replace(self.record, candidate=replace(self.record.candidate, logprob=event.logprob))

    def _end_among_others(self, event: Finished) -> None:
        if not self.ended:
            self.end(event.reason)
        # The request's usage counts the tokens of all; what is held of the prompt is the same for each.
        held = event.context_used - len(event.tokens) if event.context_used else 0
        self.record = replace(
            self.record,
            usage=replace(event.usage, completion_tokens=len(self.tokens)),
            timings=event.timings,
            context_used=held + len(self.tokens),
        )

    def snapshot(self) -> Turn:
        """Return the turn as it stands."""
        return replace(self.turn, content=self.text, reply=self._grown())

    def _grown(self) -> Reply:
        usage = self.record.usage
        if not self.ended and self.prompt_tokens is not None:
            usage = Usage(self.prompt_tokens, self.cached_tokens or 0, len(self.tokens) - self._begun)
        return replace(
            self.record,
            tokens=tuple(self.tokens),
            logprobs=self._known_logprobs(),
            sampling=self.sampling,
            changes=tuple(self._changes),
            usage=usage,
        )

    def _known_logprobs(self) -> tuple[float, ...] | None:
        """Return one a token; None when the engine did not say them all. What a stop text cut away has none."""
        known = tuple(self._logprobs[: len(self.tokens)])
        return known if known and len(known) == len(self.tokens) else None
