"""The events of one request of N candidates, folded into the candidates. Knows nothing of who chooses among them."""

from __future__ import annotations

from collections.abc import Callable

from lmlab.backends import CandidateEnded, Event, Failed, Finished, FinishReason, Started, Token
from lmlab.errors import LmlabError
from lmlab.lab.selectors.candidates import Candidate, Selector


class Gather:
    """Folds events in the order they come, streamed or not. ``read_answer`` reads the answer off a whole text."""

    def __init__(self, count: int, read_answer: Callable[[str], str | None]) -> None:
        self.count = count
        self.started: Started | None = None
        self.finished: Finished | None = None
        self.failed: LmlabError | None = None
        self._read_answer = read_answer
        self._texts: list[list[str]] = [[] for _ in range(count)]
        self._ended: dict[int, Candidate] = {}
        self._settled = False

    def fold(self, event: Event) -> None:
        match event:
            case Started():
                self.started = event
            case Token(text=text, candidate=candidate):
                self._texts[candidate].append(text)
            case CandidateEnded():
                self._end(event.candidate, event.reason, event.tail, event.tokens, event.logprob)
            case Finished():
                self.finished = event
                # One candidate alone has no end of its own.
                if not self._ended and self.count == 1:
                    self._end(0, event.reason, event.tail, event.tokens, event.logprob)
            case Failed(error=error):
                self.failed = error
            case _:
                pass

    @property
    def ended(self) -> tuple[Candidate, ...]:
        """Those that are over, cancelled ones too, in the order of their indices."""
        return tuple(self._ended[index] for index in sorted(self._ended))

    @property
    def over(self) -> bool:
        """Whether the last event has come."""
        return self.finished is not None or self.failed is not None

    def needless(self, selector: Selector | None) -> tuple[int, ...]:
        """Return, once, the candidates still running that ``selector`` needs no more, since its choice stands."""
        if self._settled or selector is None or not selector.settled(self.ended, self.count):
            return ()
        self._settled = True
        return tuple(index for index in range(self.count) if index not in self._ended)

    def text(self, candidate: int) -> str:
        """Return what has come of one candidate so far."""
        ended = self._ended.get(candidate)
        return ended.text if ended is not None else "".join(self._texts[candidate])

    def _end(self, index: int, reason: FinishReason, tail: str, tokens: tuple[int, ...], logprob: float | None) -> None:
        text = "".join(self._texts[index]) + tail
        self._texts[index].clear()
        # Half a text has no answer to be read off it.
        answer = None if reason in ("cancelled", "error") else self._read_answer(text)
        self._ended[index] = Candidate(index, text, reason, tokens, logprob, answer)
