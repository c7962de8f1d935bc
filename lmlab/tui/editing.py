"""An earlier message back in the composer: sent, it stands beside the old one. Knows nothing of the chat."""

from __future__ import annotations

from lmlab.lab import slash
from lmlab.store import Session, Turn
from lmlab.terminal_text import one_line
from lmlab.tui.widgets.composer import Composer, Prompt

_MARK = "edit ›"
_SHOWN = 24


class MessageEdit:
    """``turn`` is the message that is being edited, None when none is. What was typed before comes back afterwards."""

    def __init__(self, composer: Composer, prompt: Prompt) -> None:
        self.turn: Turn | None = None
        self._composer = composer
        self._prompt = prompt
        self._draft = ""

    @property
    def line(self) -> str:
        """What is being done, in words; nothing when nothing is."""
        if self.turn is None:
            return ""
        return f'editing "{one_line(self.turn.content, _SHOWN)}": what you send goes beside it'

    def begin(self, turn: Turn) -> None:
        """Put the text of ``turn`` into the composer."""
        if self.turn is None:
            self._draft = self._prompt.text
        self.turn = turn
        text = turn.content
        self._prompt.recall(f"/{text}" if slash.is_command(text) else text)
        self._composer.mark(_MARK)

    def keep_to(self, session: Session | None) -> None:
        """The chat is in ``session``: give up what is of another."""
        if self.turn is not None and (session is None or session.id != self.turn.session):
            self.end()

    def end(self) -> bool:
        """Put what was typed before back; return whether something was being edited."""
        if self.turn is None:
            return False
        self.turn = None
        self._composer.mark()
        self._prompt.recall(self._draft)
        self._draft = ""
        return True
