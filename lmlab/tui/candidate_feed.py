"""Several candidates under way, brought into columns. Knows nothing of where the columns are."""

from __future__ import annotations

from lmlab.tui.state import LiveReply
from lmlab.tui.status import candidate_lines
from lmlab.tui.widgets.columns import Columns


class CandidateFeed:
    """Fills the ``columns`` from ``first`` on with the texts of a reply, one each."""

    def __init__(self, columns: Columns, candidates: int, first: int = 0) -> None:
        self._columns = columns
        self._first = first
        self._places = [0] * candidates

    def catch_up(self, reply: LiveReply) -> None:
        """Add what has come of each text."""
        if reply.candidates != len(self._places):
            # It waits for its model: nothing of it is drawn yet.
            return
        for index, text in enumerate(reply.texts):
            piece, self._places[index] = text.since(self._places[index])
            if piece:
                self._columns.column(self._first + index).append(piece)

    def show_numbers(self, reply: LiveReply) -> None:
        """Say how far each is."""
        for index, text in enumerate(reply.texts[: len(self._places)]):
            self._columns.column(self._first + index).show_status(candidate_lines(text))
