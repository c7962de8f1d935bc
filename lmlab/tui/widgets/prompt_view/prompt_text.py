"""The text that a model would get, with marks: what is in memory, what is shared, how long each message is.

Knows nothing of how it is found out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lmlab.backends import Message
from lmlab.lab.next_prompt import NextPrompt
from lmlab.terminal_text import visible

# Italics tell the chat template's own text from a message's where there is no colour; the marks say the rest.
_CACHED, _OWN, _CACHED_OWN, _MARK = "$text-accent", "italic $text-muted", "italic $text-accent 60%", "reverse"
_LENGTH, _ROLE = "$text-muted reverse", "bold"


class PromptText(VerticalScroll, can_focus=False):
    """Scrolls; a new text is shown from its end, where the message is."""

    def __init__(self) -> None:
        super().__init__(id="prompt-text")
        self._text = Static()
        self._shown: Content | None = None

    def compose(self) -> Sequence[Static]:
        return (self._text,)

    def show(self, content: Content) -> None:
        """Show another text, if it is another."""
        if self._shown is not None and content == self._shown:
            return
        self._shown = content
        self._text.update(content)
        self.call_after_refresh(self.scroll_end, animate=False)


def marked(prompt: NextPrompt) -> Content:
    """Return the exact text, each piece by whether it is a message's or the chat template's, and in memory or not."""
    role_at: dict[int, int] = {one.end: one.tokens for one in prompt.passages}
    inside = [(one.start, one.end) for one in prompt.passages]
    edges = sorted({0, len(prompt.text), prompt.cached_at, prompt.shared_at, *(end for pair in inside for end in pair)})
    pieces: list[Content] = []
    place = 0
    for start, end in pairwise(edges):
        while place < len(inside) and inside[place][1] <= start:
            place += 1
        own = place == len(inside) or start < inside[place][0]
        cached = end <= prompt.cached_at
        style = (_CACHED_OWN if own else _CACHED) if cached else (_OWN if own else "")
        pieces.append(Content.styled(visible(prompt.text[start:end]), style))
        if role_at.get(end):
            pieces.append(Content.styled(f" {role_at[end]:,} ", _LENGTH))
        if mark := _mark(prompt, end):
            pieces.append(Content.styled(mark, _MARK))
    return Content("").join(pieces)


def plain(messages: Sequence[Message]) -> Content:
    """Return the messages under their roles: what there is to show while no model can make a prompt of them."""
    said = [Content.assemble((f"{message.role}\n", _ROLE), visible(message.content)) for message in messages]
    return Content("\n\n").join(said)


def _mark(prompt: NextPrompt, at: int) -> str:
    """Return what ends at the character ``at``, as one word that no line break can divide."""
    ends = ["memory"] if prompt.cached and at == prompt.cached_at else []
    ends += ["shared"] if prompt.shared and at == prompt.shared_at else []
    return f"◂{'+'.join(ends)}" if ends else ""
