"""The message under the cursor of the tree, at length. Knows nothing of the tree."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from lmlab.store import Turn
from lmlab.terminal_text import one_line, visible
from lmlab.tui.format import count
from lmlab.tui.status import kept_status, short_name

_MOST = 4000


class TurnDetail(VerticalScroll, can_focus=False):
    """Shows one turn: who said it, its beginning, and what is known of how it came to be."""

    def __init__(self) -> None:
        super().__init__(id="tree-detail")
        self._text = Static()
        self._shown: tuple[Turn, int, bool] | None = None

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, turn: Turn, number: int, growing: bool) -> None:
        """Show ``turn``, the message of that ``number``; ``growing``: it is a reply under way."""
        if (turn, number, growing) != self._shown:
            if self._shown is not None and self._shown[0].id != turn.id:
                self.scroll_home(animate=False)
            self._shown = (turn, number, growing)
            self._text.update(_content(turn, number, growing))

    def clear(self) -> None:
        self._shown = None
        self._text.update()


def _content(turn: Turn, number: int, growing: bool) -> Content:
    reply = turn.reply
    who = "you" if reply is None else one_line(short_name(reply.model) if reply.model else "reply", 60)
    parts = [Content.assemble((who, "bold"), (f" · message {number}", "$text-muted"))]
    parts += [
        Content.styled(f"{one_line(file.name, 60)}, {count(len(file.text), 'character')}", "$text-muted")
        for file in turn.attachments
    ]
    if turn.prompt is not None:
        used = f"through the template {one_line(turn.prompt.template, 60)}, {turn.prompt.technique}"
        parts.append(Content.styled(used, "$text-muted"))
    text = visible(turn.content[:_MOST].replace("\r\n", "\n"))
    more = len(turn.content) - _MOST
    parts += [Content(""), Content(text)]
    if more > 0:
        parts.append(Content.styled(f"… and {count(more, 'character')} more: enter goes there", "$text-muted"))
    if reply is not None and not growing:
        parts += [Content(""), *(Content.styled(line, "$text-muted") for line in _facts(turn))]
        if reply.error:
            parts.append(Content.styled(one_line(reply.error, 2000), "$text-error"))
    return Content("\n").join(parts)


def _facts(turn: Turn) -> list[str]:
    reply = turn.reply
    assert reply is not None
    facts = [kept_status(reply)]
    if reply.branch is not None:
        facts.append(f"branched from another reply at token {reply.branch.at + 1}")
    return [fact for fact in facts if fact]
