"""What a session says: its facts, and its last messages. Knows nothing of the store."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lmlab.store import Session, Turn
from lmlab.terminal_text import one_line, visible
from lmlab.tui.format import count
from lmlab.tui.status import short_name

_MESSAGES = 6
_CHARACTERS = 1200


class SessionPreview(VerticalScroll, can_focus=False):
    """Shows what ``show`` was given last."""

    def __init__(self) -> None:
        super().__init__(id="sessions-preview")
        self._text = Static()

    def on_mount(self) -> None:
        self.mount(self._text)

    def clear(self) -> None:
        self._text.update("")

    def show(self, session: Session, path: Sequence[Turn]) -> None:
        """Show ``session`` and the end of its selected ``path``."""
        began = session.created.astimezone().strftime("%Y-%m-%d")
        parts: list[tuple[str, str]] = [
            (one_line(session.title) or "(no title)", "bold"),
            (f"\n{session.id} · {count(len(path), 'message')} · begun {began}", "$text-muted"),
        ]
        if session.system:
            parts.append((f"\nsystem: {one_line(session.system, 120)}", "$text-muted"))
        left_out = len(path) - _MESSAGES
        if left_out > 0:
            parts.append((f"\n\n… {count(left_out, 'message')} before", "$text-muted"))
        for turn in path[-_MESSAGES:]:
            who = "you" if turn.reply is None else short_name(turn.reply.model) if turn.reply.model else "reply"
            parts.append((f"\n\n{one_line(who, 40)}\n", "$text-muted" if turn.reply is None else "$text-accent"))
            parts.append((_beginning(turn), ""))
        self._text.update(Content.assemble(*parts))
        self.scroll_home(animate=False)


def _beginning(turn: Turn) -> str:
    files = "".join(f"[{one_line(file.name, 40)}]\n" for file in turn.attachments)
    text = visible(turn.content.strip())
    return files + (text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS].rstrip()} …")
