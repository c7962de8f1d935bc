"""What the compare screen shows, as plain values: events go in, widgets read. Knows nothing of Textual."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lmlab.backends import CandidateEnded, Finished, Loading, Prefill, Ready, Started, Status, Stopped, Token
from lmlab.errors import LmlabError
from lmlab.lab.compare.answer import Answer
from lmlab.lab.compare.case import Case
from lmlab.lab.compare.record import Vote
from lmlab.lab.compare.round import Answered, Choosing, NotKept, Said
from lmlab.lab.compare.sitting import CaseOver, NotOpened, Opened, SittingEvent
from lmlab.lab.compare.workers import Opening
from lmlab.tui.state import Clock, LiveText


@dataclass(slots=True)
class LiveAnswer:
    """The answer of one variant, as far as it has come. Times are the clock's; ``asked`` is when its worker could begin.

    ``text`` is what streams: of several candidates the first. ``answer`` is there once it has ended. ``left_out``: the
    case was over before it was asked for.
    """

    text: LiveText = field(default_factory=LiveText)
    asked: float = 0.0
    started: bool = False
    first_token: float | None = None
    last_token: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prefilled: int = 0
    selector: str | None = None
    answer: Answer | None = None
    left_out: bool = False

    @property
    def ended(self) -> bool:
        return self.answer is not None

    @property
    def tokens_per_s(self) -> float | None:
        if self.first_token is None or self.last_token is None or self.last_token <= self.first_token:
            return None
        return (self.text.tokens - 1) / (self.last_token - self.first_token)


class CompareState:
    """``case`` is on the screen, ``answers`` has one for each variant, in their order; ``order`` is that of the columns.

    ``asking``: answers are still to come. ``loading`` has the status of each variant's worker until all can answer.
    """

    def __init__(self, variants: int, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.variants = variants
        self.ready = False
        self.failure: LmlabError | None = None
        self.loading: dict[int, Loading] = {}
        self.case: Case | None = None
        self.number = 0
        self.answers = [LiveAnswer() for _ in range(variants)]
        self.order: tuple[int, ...] = tuple(range(variants))
        self.asking = False
        self.vote: Vote | None = None
        self._failed: set[tuple[str, int]] = set()
        self._said: list[str] = []

    def begin(self, case: Case, order: Sequence[int], kept: Sequence[Answer | None], vote: Vote | None) -> None:
        """Show another case; answers that are ``kept`` of it are not drawn again."""
        self.number += self.case is None or case.key != self.case.key
        self.case, self.order, self.vote = case, tuple(order), vote
        now = self.clock()
        self.answers = [LiveAnswer(asked=now, answer=answer) for answer in kept]
        self.asking = True

    @property
    def incomplete(self) -> bool:
        """Whether an answer failed, was stopped or left out, so that it may be asked for again."""
        return any(live.answer is None or not live.answer.ended for live in self.answers)

    @property
    def failed_answers(self) -> int:
        """How many failed and were not drawn later."""
        return len(self._failed)

    def take_said(self) -> list[str]:
        said, self._said = self._said, []
        return said

    def fold(self, event: SittingEvent) -> None:
        """Take in the next event."""
        match event:
            case Opening(variants, status):
                self._hear(variants, status)
            case Opened():
                self.ready = True
                self.loading.clear()
            case NotOpened(error):
                self.failure = error
            case Said(variant, said):
                self._fold_answer(self.answers[variant], said)
            case Choosing(variant, selector):
                self.answers[variant].selector = selector
            case Answered(variant, answer):
                self.answers[variant].answer = answer
                self._count(answer)
            case NotKept(error):
                self._said.append(str(error))
            case CaseOver():
                self.asking = False
                for live in self.answers:
                    live.left_out = not live.ended

    def _count(self, answer: Answer) -> None:
        what = (answer.key, answer.variant)
        if answer.error is not None:
            self._failed.add(what)
        else:
            self._failed.discard(what)

    def _hear(self, variants: Sequence[int], status: Status) -> None:
        if isinstance(status, Stopped):
            self._said.append(str(status.error))
        for variant in variants:
            if isinstance(status, Ready):
                self.loading.pop(variant, None)
                self.answers[variant].asked = self.clock()
            elif isinstance(status, Loading):
                self.loading[variant] = status
            else:
                self.loading.pop(variant, None)

    def _fold_answer(self, live: LiveAnswer, event: object) -> None:
        now = self.clock()
        match event:
            case Started():
                live.started = True
                live.prompt_tokens, live.cached_tokens = event.prompt_tokens, event.cached_tokens
            case Prefill():
                live.prefilled = event.done
            case Token(candidate=0):
                live.text.tokens += 1
                live.first_token = now if live.first_token is None else live.first_token
                live.last_token = now
                live.text.pieces.append(event.text)
            case CandidateEnded(candidate=0) | Finished():
                live.text.pieces.append(event.tail)
