"""One turn of the conversation on the screen, and the lines between turns. Knows nothing of the chat."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from lmlab.store import Turn
from lmlab.terminal_text import one_line, visible
from lmlab.tui.format import break_between_facts, count
from lmlab.tui.status import kept_notes, kept_status, short_name
from lmlab.tui.widgets.transcript.prose import Prose


class UserTurn(Static):
    """What a person said, as it was typed, and the files that went with it."""

    def __init__(self, turn: Turn) -> None:
        files = [
            Content.styled(f"{visible(file.name)}, {count(len(file.text), 'character')}\n", "$text-muted")
            for file in turn.attachments
        ]
        text = Content(visible(turn.content.replace("\r\n", "\n")))
        super().__init__(Content("").join([Content.styled("you\n", "$text-muted"), *files, text]))


class Status(Widget):
    """Facts about a reply. A line that is too long breaks between two of them, not inside one."""

    def __init__(self) -> None:
        super().__init__(classes="status")
        self._lines: list[str] = []
        self._error = ""

    def show(self, line: str, notes: list[str], error: str | None) -> None:
        lines = [text for text in (line, *notes) if text]
        if (lines, error or "") != (self._lines, self._error):
            self._lines, self._error = lines, error or ""
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._content(width).get_height({}, width)

    def render(self) -> Content:
        return self._content(self.content_size.width)

    def _content(self, width: int) -> Content:
        lines = [Content.styled(break_between_facts(line, width), "$text-muted") for line in self._lines]
        if self._error:
            lines.append(Content.styled(one_line(self._error, 2000), "$text-error"))
        return Content("\n").join(lines)


class ReplyTurn(Vertical):
    """A reply: who says it, the text as it grows, and the status under it."""

    def __init__(self, speaker: str, text: str = "") -> None:
        super().__init__()
        self._speaker = Static(Content.styled(one_line(speaker, 60), "$text-accent"), classes="speaker")
        self._prose = Prose(text)
        self._status = Status()

    @classmethod
    def kept(cls, turn: Turn) -> ReplyTurn:
        """Return the widget of a reply from the store."""
        reply = turn.reply
        widget = cls(short_name(reply.model) if reply and reply.model else "reply", turn.content)
        if reply is not None:
            widget.show_status(kept_status(reply), kept_notes(reply), reply.error)
        return widget

    def compose(self) -> ComposeResult:
        yield self._speaker
        yield self._prose
        yield self._status

    def append(self, text: str) -> None:
        self._prose.append(text)

    def show_status(self, line: str, notes: list[str], error: str | None = None) -> None:
        """Show the line under the reply, a note for each change of sampling, and the error that ended it."""
        self._status.show(line, notes, error)


class SaidLine(Static):
    """A line that nobody of the conversation said: a notice, what a command answered, or an error."""

    def __init__(self, text: str, error: bool) -> None:
        super().__init__(Content.styled(visible(text), "$text-error" if error else "$text-muted"))
