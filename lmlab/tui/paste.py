"""Keys and pastes out of what a terminal sends. Textual's own parser ends a paste at the first ESC in it."""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.message import Message

# So much of a mark may have come without the mark being there yet.
_PART = len(BRACKETED_PASTE_START) - 1


class PasteParser(XTermParser):
    """Gives all between the two marks of a bracketed paste as one Paste, whatever is in it and however it was read."""

    def __init__(self, debug: bool = False) -> None:
        self._seen = ""
        self._pasted: list[str] | None = None
        super().__init__(debug)

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            yield from super().feed(data)
        while data:
            events_in, data = self._keys(data) if self._pasted is None else self._paste(self._pasted, data)
            yield from events_in

    def _keys(self, data: str) -> tuple[Iterable[Message], str]:
        """Return the events of ``data`` up to a paste, and what comes after the mark that begins it."""
        known = self._seen + data
        at = known.find(BRACKETED_PASTE_START)
        if at < 0:
            self._seen = known[-_PART:]
            return super().feed(data), ""
        self._seen, self._pasted = "", []
        rest = known[at + len(BRACKETED_PASTE_START) :]
        # The mark too: a part of it may be there already, waiting for the rest.
        return super().feed(data[: len(data) - len(rest)]), rest

    def _paste(self, pasted: list[str], data: str) -> tuple[Iterable[Message], str]:
        """Return the paste once its end has come, and what comes after it."""
        known = self._seen + data
        text, mark, rest = known.partition(BRACKETED_PASTE_END)
        if not mark:
            pasted.append(known[:-_PART])
            self._seen = known[-_PART:]
            return (), ""
        self._seen, self._pasted = "", None
        # The other parser, which has been in an empty paste of its own, must leave it.
        others = [event for event in super().feed(mark) if not isinstance(event, events.Paste)]
        return (*others, events.Paste("".join((*pasted, text)))), rest
