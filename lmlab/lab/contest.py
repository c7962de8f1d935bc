"""The candidates of one chat reply as they end, and the choice among them. Knows nothing of turns or of who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from lmlab.backends import Backend, CandidateEnded, Event, Message
from lmlab.errors import LmlabError
from lmlab.lab.best_of import Candidate, Choice, Gather, Question, Selector, SelectorSpec
from lmlab.lab.selectors.candidates import came_to_end, likeliest


class Contest:
    """``open_selector`` opens ``spec`` for the backend that draws; it may take long where ``spec`` names a model.

    ``read_answer`` takes the answer from a candidate's text; None: the whole of it is the answer. ``fold`` and
    ``choose`` are for the thread that events come on, ``stop`` for any.
    """

    def __init__(
        self,
        count: int,
        spec: SelectorSpec,
        open_selector: Callable[[SelectorSpec, Backend], Selector],
        read_answer: Callable[[str], str | None] | None = None,
    ) -> None:
        self.count = count
        self.spec = spec
        self._read = read_answer or _whole
        self._gather = Gather(count, self._read)
        self._open_selector = open_selector
        self._own: Backend | None = None
        self._question = Question((), "", self._read)
        self._selector: Selector | None = None
        self._needless: tuple[int, ...] = ()
        self._tell: Callable[[Choice], None] | None = None
        self._stopped = threading.Event()

    @property
    def takes_long(self) -> bool:
        """Whether there is something to choose from and ``choose`` returns before the choice is there."""
        return bool(self._finalists()) and (self._selector is None or self._selector.blocking)

    def begin(self, messages: tuple[Message, ...], own: Backend) -> None:
        """Say what the candidates answer, and the backend that draws them."""
        self._own = own
        self._question = Question(messages, question_text(messages), self._read)
        if self.spec.model is None:
            # What cannot be opened is said when it should choose: the candidates are worth having without it.
            with suppress(LmlabError):
                self._selector = self._open_selector(self.spec, own)

    def fold(self, event: Event) -> None:
        """Take in the next event of the request."""
        gather = self._gather
        gather.fold(event)
        if isinstance(event, CandidateEnded):
            self._needless += gather.needless(self._selector)

    def take_needless(self) -> tuple[int, ...]:
        """Return, once, the candidates that can no longer change the choice."""
        needless, self._needless = self._needless, ()
        return needless

    def choose(self, tell: Callable[[Choice], None]) -> None:
        """Have the choice told, here or on a thread of its own. ``stop`` may tell one before; the first counts."""
        self._tell = tell
        if not self.takes_long:
            self._choose(tell)
        elif self._stopped.is_set():
            tell(self.unchosen())
        else:
            threading.Thread(target=self._choose, args=(tell,), name="lmlab-select", daemon=True).start()

    def stop(self) -> bool:
        """Have the most probable candidate told in place of a choice; return whether this is the first time."""
        if self._stopped.is_set():
            return False
        self._stopped.set()
        if self._tell is not None:
            self._tell(self.unchosen())
        if self._selector is not None:
            self._selector.close()
        return True

    def unchosen(self, why: str = "stopped before the choice") -> Choice:
        """Return the most probable of those that have ended; the first, as far as it came, where none has."""
        ended, finalists = self._gather.ended, self._finalists()
        if not finalists:
            return Choice(0, "", "stopped before one had come to its end", ended)
        return Choice(likeliest(finalists).index, str(self.spec), f"{why}: the most probable", ended)

    def _finalists(self) -> list[Candidate]:
        return [candidate for candidate in self._gather.ended if came_to_end(candidate)]

    def _choose(self, tell: Callable[[Choice], None]) -> None:
        choice = self.unchosen("the selector failed")
        try:
            if self._finalists():
                choice = self._chosen()
        except LmlabError as error:
            choice = self.unchosen(f"no choice was made ({error})")
        finally:
            # Also after a defect, whose traceback goes where all such go: who waits for the reply must not wait for ever.
            tell(choice)

    def _chosen(self) -> Choice:
        assert self._own is not None
        if self._selector is None:
            self._selector = self._open_selector(self.spec, self._own)
        try:
            if self._stopped.is_set():
                return self.unchosen()
            choice = self._selector.choose(self._question, self._gather.ended)
        finally:
            self._selector.close()
        if not choice.saved:
            return choice
        were = "was" if choice.saved == 1 else "were"
        return replace(choice, why=f"{choice.why}; {choice.saved} {were} not drawn to the end")


def question_text(messages: Sequence[Message]) -> str:
    """Return what was asked, for a person or a judge: the message, or all that was said where there was more."""
    said = [message for message in messages if message.role != "system"]
    if len(said) == 1:
        return said[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in said)


def _whole(text: str) -> str | None:
    return text.strip() or None
