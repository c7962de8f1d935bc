"""The rows of a list of sessions, and a cursor over them. Knows nothing of the store or the chat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from textual.content import Content

from lmlab.models import size_text
from lmlab.terminal_text import one_line
from lmlab.tui.status import short_name
from lmlab.tui.widgets.cursor_rows import CursorRows
from lmlab.tui.widgets.sessions.book import SessionRow

_CURSOR, _OPEN, _REMOVED = "›", "●", "✕"
_HEAD = 4
_GAP = 2
_TITLE_LEAST = 20
_MODEL = 14
_INDENT = 6


class SessionRows(CursorRows[SessionRow]):
    """Shows what ``show`` was given last, with what a search found under a row."""

    LIT = "sessions--cursor"
    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "sessions--cursor",
        "sessions--open",
        "sessions--muted",
        "sessions--gone",
        "sessions--match",
    }

    def __init__(self) -> None:
        super().__init__("sessions-rows")
        self._open: str | None = None
        self._facts: list[list[str]] = []

    def show(self, rows: Sequence[SessionRow], opened: str | None, at: str | None) -> None:
        """Show ``rows``, the cursor at the session ``at``; where that is none of them, in the place it was.

        ``opened``: the id of the session that the chat is in.
        """
        now = datetime.now().astimezone()
        self._open = opened
        self._facts = _columns([_facts(row, now) for row in rows])
        place = next((index for index, row in enumerate(rows) if row.session.id == at), None)
        # One height for all: a row is found by its number.
        self.put(tuple(rows), place, lines=2 if any(row.match is not None for row in rows) else 1)

    def line(self, place: int, line: int, width: int) -> Content:
        return self._found_line(self._rows[place], width) if line else self._line(place, width)

    def _line(self, place: int, width: int) -> Content:
        row = self._rows[place]
        session = row.session
        opened = session.id == self._open
        mark = _REMOVED if row.removed else _OPEN if opened else " "
        weight = ".sessions--gone" if row.removed else ".sessions--open" if opened else ""
        title = one_line(session.title) or "(no title)"
        facts = ["removed, u brings it back"] if row.removed else self._facts[place]
        # What there is no room for is left out, the model first and the time last.
        while len(facts) > 1 and width - _HEAD - sum(len(fact) + _GAP for fact in facts) < _TITLE_LEAST:
            facts = facts[1:]
        taken = _HEAD + sum(len(fact) + _GAP for fact in facts)
        room = max(_TITLE_LEAST, width - taken - 1)
        shown = Content.styled(title, weight).truncate(room, ellipsis=True, pad=True)
        head = f"{_CURSOR if place == self._cursor else ' '} {mark} "
        tail = "".join(f"{'':{_GAP}}{fact}" for fact in facts)
        return Content.assemble((head, weight), shown, (tail, ".sessions--muted")).truncate(width, ellipsis=True)

    def _found_line(self, row: SessionRow, width: int) -> Content:
        if row.match is None:
            return Content.styled(f"{'':{_INDENT}}in the title", ".sessions--muted")
        return Content.assemble(
            (f"{'':{_INDENT}}{row.match.before}", ".sessions--muted"),
            (row.match.match, ".sessions--match"),
            (row.match.after, ".sessions--muted"),
        ).truncate(width - 1, ellipsis=True)


def _facts(row: SessionRow, now: datetime) -> tuple[str, ...]:
    """Return what is said of a session beside its title: its model, messages, size on disk, and when it was written."""
    session = row.session
    model = one_line(short_name(session.model)) if session.model else ""
    when = session.updated.astimezone()
    return (
        model if len(model) <= _MODEL else f"{model[: _MODEL - 1]}…",
        f"{row.messages:,} msg",
        size_text(row.snapshot_bytes) if row.snapshot_bytes else "",
        when.strftime("%d %b %H:%M" if when.year == now.year else "%Y-%m-%d"),
    )


def _columns(facts: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Return the facts in columns of their own widths, the model's to the left; a column without any is left out."""
    widths = [max(map(len, column)) for column in zip(*facts, strict=True)]
    return [
        [
            f"{fact:{'>' if place else '<'}{width}}"
            for place, (fact, width) in enumerate(zip(line, widths, strict=True))
            if width
        ]
        for line in facts
    ]
