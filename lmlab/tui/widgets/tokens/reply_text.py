"""One reply in a TokenText, token by token as they come and are spelled. Knows nothing of where texts come from."""

from __future__ import annotations

import re

from lmlab.tui.widgets.tokens.bands import band
from lmlab.tui.widgets.tokens.reading import Reading
from lmlab.tui.widgets.tokens.spelling import END, Spelling, shown
from lmlab.tui.widgets.tokens.text import TokenText


class ReplyText:
    """``own`` is the turn that the open model made, whose tokens it can spell; any other is shown as plain text."""

    def __init__(self) -> None:
        self.widget = TokenText()
        self.spelling = Spelling()
        self.own: int | None = None
        self._showing: tuple[int, bool] | None = None
        self._streaming = False

    @property
    def plain(self) -> bool:
        """Whether what is shown are words, not tokens."""
        return self._showing is not None and not self._showing[1]

    def forget(self) -> None:
        """The model is another one: so may be its vocabulary."""
        self.spelling = Spelling()
        self.own = self._showing = None

    def missing(self, reading: Reading) -> tuple[int, ...]:
        """Return the tokens of the reply whose texts are to be asked for."""
        return self.spelling.missing(reading.reply.tokens) if self.own == reading.turn.id else ()

    def show(self, reading: Reading) -> None:
        """Show the reply that is read, as far as its tokens are spelled, and which is selected."""
        tokens, own = reading.reply.tokens, self.own == reading.turn.id
        # The end of a reply may take back tokens that were seen to be part of a stop text.
        if self._showing != (reading.turn.id, own) or (own and self.widget.count > reading.places):
            self._showing = (reading.turn.id, own)
            self.widget.begin()
        if not own:
            self._show_words(reading.turn.content)
            return
        start = self.widget.count
        spelled: list[str] = []
        for token in tokens[start:]:
            if token not in self.spelling:
                break
            spelled.append(self.spelling[token])
        bands = [band(reading.chance(at)) for at in range(start, start + len(spelled))]
        if reading.ended and start + len(spelled) == len(tokens) and tokens:
            spelled.append(END)
            bands.append(None)
        self.widget.add(spelled, bands)
        if self._streaming and not reading.streaming:
            self.widget.paint([band(reading.chance(at)) for at in range(self.widget.count)])
        self._streaming = reading.streaming
        self.widget.mark(reading.at)

    def _show_words(self, text: str) -> None:
        words = [shown(word) for word in re.findall(r"\n|[^\S\n]*[^\s]+|[^\S\n]+", text)]
        self.widget.add(words[self.widget.count :], [None] * (len(words) - self.widget.count))
