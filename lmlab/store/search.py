"""Which sessions a text is in: its own words, letter by letter, whatever their case and the space between them.

Knows nothing of where sessions are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from lmlab.store.records import Session
from lmlab.terminal_text import visible

_BEFORE = 24
_AFTER = 120


@dataclass(frozen=True, slots=True)
class Snippet:
    """The place where a text was found, on one line and safe to show, with what is around it."""

    before: str
    match: str
    after: str

    def __str__(self) -> str:
        return f"{self.before}{self.match}{self.after}"


@dataclass(frozen=True, slots=True)
class Found:
    """A session in which a text was found: in its title, in ``messages`` of its messages, on any branch.

    ``snippet`` is of the first of these; None when only the title has it.
    """

    session: Session
    messages: int
    snippet: Snippet | None


class Search:
    """Give it messages with ``look``; ``found`` is what has come of it."""

    def __init__(self, text: str) -> None:
        self._pattern = re.compile(r"\s+".join(map(re.escape, text.split())), re.IGNORECASE)
        self._messages: dict[str, int] = {}
        self._first: dict[str, Snippet] = {}

    def look(self, messages: Iterable[tuple[str, str]]) -> None:
        """Look in ``(session, text)``, oldest first."""
        for session, text in messages:
            if (match := self._pattern.search(text)) is None:
                continue
            self._messages[session] = self._messages.get(session, 0) + 1
            if session not in self._first:
                self._first[session] = _snippet(text, *match.span())

    def found(self, sessions: Iterable[Session]) -> tuple[Found, ...]:
        """Return those of ``sessions`` where it was found, in their order."""
        return tuple(
            Found(session, self._messages.get(session.id, 0), self._first.get(session.id))
            for session in sessions
            if session.id in self._messages or self._pattern.search(session.title)
        )


def _snippet(text: str, start: int, end: int) -> Snippet:
    begin = max(0, start - _BEFORE)
    stop = min(len(text), end + _AFTER)
    before, after = _line(text[begin:start]), _line(text[end:stop])
    return Snippet(
        f"…{before}" if begin else before.lstrip(),
        _line(text[start:end]),
        f"{after}…" if stop < len(text) else after.rstrip(),
    )


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", visible(text))
