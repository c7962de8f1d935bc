"""Bytes of tokens to text that may be shown: whole characters only, and never half a stop string.

Knows nothing of tokens or models.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Grows with ``push`` and ends with ``flush``; what they return, joined, is the reply.

    Characters split over tokens wait until whole; bytes that are no UTF-8 become U+FFFD. Text that could be the start of
    a stop string waits until it is decided.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        """Whether a stop string was met; nothing comes after it."""

    def set_stop(self, stop: Sequence[str]) -> None:
        """Look for other stop strings from now on, in what is held back too."""
        self._stop = tuple(stop)

    def push(self, piece: bytes) -> str:
        """Take in the bytes of one token and return the text that is now certain."""
        return self._advance(self._decoder.decode(piece))

    def flush(self) -> str:
        """The reply is over: return what was held back, half a character as U+FFFD."""
        text = self._advance(self._decoder.decode(b"", final=True))
        if self.stopped:
            return text
        held, self._held = self._held, ""
        return text + held

    def _advance(self, text: str) -> str:
        if self.stopped:
            return ""
        self._held += text
        # The one complete first, as if characters came one by one: the split into tokens must not change the reply.
        found = [(start + len(stop), start) for stop in self._stop if (start := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            ready, self._held = self._held[: min(found)[1]], ""
            return ready
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        ready, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return ready


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that is a proper beginning of ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
