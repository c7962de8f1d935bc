"""One turn of the conversation on the screen, and the lines between turns. Knows nothing of the chat."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from lmlab.store import Turn
from lmlab.terminal_text import one_line, visible
from lmlab.tui.candidate_feed import CandidateFeed
from lmlab.tui.format import count
from lmlab.tui.state import LiveReply, ModelState
from lmlab.tui.status import kept_notes, kept_status, live_notes, live_status, short_name, template_line
from lmlab.tui.widgets.columns import Columns
from lmlab.tui.widgets.fact_lines import FactLines
from lmlab.tui.widgets.prose import Prose

_LEAST_LINES = 5
_OTHER_LINES = 15


class UserTurn(Static):
    """What a person said, as it was typed, the template it went through, and the files that went with it."""

    def __init__(self, turn: Turn) -> None:
        files = [
            Content.styled(f"{visible(file.name)}, {count(len(file.text), 'character')}\n", "$text-muted")
            for file in turn.attachments
        ]
        text = Content(visible(turn.content.replace("\r\n", "\n")))
        through = f" · {template_line(turn.prompt)}" if turn.prompt is not None else ""
        super().__init__(Content("").join([Content.styled(f"you{through}\n", "$text-muted"), *files, text]))


class ReplyTurn(Vertical):
    """A reply: who says it, the text as it grows, and the status under it. Several candidates are columns until the end."""

    def __init__(self, speaker: str, text: str = "") -> None:
        super().__init__()
        self._speaker = Static(Content.styled(one_line(speaker, 60), "$text-accent"), classes="speaker")
        self._prose = Prose(text)
        self._status = FactLines()
        self._place = 0
        self._columns: Columns | None = None
        self._feed: CandidateFeed | None = None

    @classmethod
    def kept(cls, turn: Turn, answer: str | None = None) -> ReplyTurn:
        """Return the widget of a reply from the store, with what was read off it."""
        reply = turn.reply
        widget = cls(short_name(reply.model) if reply and reply.model else "reply", turn.content)
        if reply is not None:
            widget._show_status(kept_status(reply), kept_notes(reply, answer), reply.error)
        return widget

    def compose(self) -> ComposeResult:
        yield self._speaker
        yield self._prose
        if self._columns is not None:
            yield self._columns
        yield self._status

    def catch_up(self, reply: LiveReply) -> None:
        """Show the text that has come of the reply under way since the last call."""
        if reply.candidates > 1 and not reply.ended:
            if self._feed is None:
                self._feed = self._open_columns(reply.candidates)
            self._feed.catch_up(reply)
            return
        if self._columns is not None:
            if self._columns.parent is not None:
                self._columns.remove()
            self._columns = self._feed = None
            self.remove_class("-columns")
        text, self._place = reply.shown.since(self._place)
        if text:
            self._prose.append(text)

    def show_numbers(self, reply: LiveReply, model: ModelState, now: float) -> None:
        """Show the facts about the reply under way, a note for each change of sampling, and the error that ended it."""
        if self._feed is not None:
            self._feed.show_numbers(reply)
        error = str(reply.error) if reply.error is not None else None
        self._show_status(live_status(reply, model, now), live_notes(reply), error)

    def on_resize(self) -> None:
        if self._columns is not None:
            self._columns.set_lines(self._room())

    def _open_columns(self, candidates: int) -> CandidateFeed:
        # Whoever types goes on typing: the view of the candidates has the keys for them.
        self._columns = Columns([f"of {candidates}"] * candidates, lines=self._room(), focusable=False)
        self.add_class("-columns")
        if self._prose.parent is not None:
            self.mount(self._columns, after=self._prose)
        return CandidateFeed(self._columns, candidates)

    def _room(self) -> int:
        """How many lines of text leave all else of a reply and the input in sight."""
        return max(_LEAST_LINES, self.app.size.height - _OTHER_LINES)

    def _show_status(self, line: str, notes: list[str], error: str | None) -> None:
        self._status.show((line, *notes), error)


class SaidLine(Static):
    """A line that nobody of the conversation said: a notice, what a command answered, or an error."""

    def __init__(self, text: str, error: bool) -> None:
        super().__init__(Content.styled(visible(text), "$text-error" if error else "$text-muted"))
