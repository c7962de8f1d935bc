"""What a slash command is, and what it gives back to the front end. Knows no command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lmlab.lab.chat import Chat
from lmlab.store import Turn

View: TypeAlias = Literal["tokens", "candidates", "tree", "prompt", "sessions"]
Action: TypeAlias = Literal["none", "quit", "help", "cleared", "sent", "resent", "model", "moved", "edit"]
"""What the front end should do besides showing the lines. ``sent`` and ``resent``: a reply is under way. ``moved``: the chat goes on
from another turn than before. ``edit``: ``turn`` is to be edited."""


@dataclass(frozen=True, slots=True)
class SlashResult:
    """A screen opens ``view`` in place of the lines, and lets the person edit ``turn`` in place of them."""

    lines: tuple[str, ...] = ()
    action: Action = "none"
    view: View | None = None
    turn: Turn | None = None


def unquoted(text: str) -> str:
    """Return ``text`` without the quotes round it: paths are often typed, or dropped on a terminal, with them."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def never(rest: str) -> bool:
    """For commands that ask for no reply."""
    return False


@dataclass(frozen=True, slots=True)
class Command:
    """``names`` without the slash, the first the one shown; ``arguments`` as a usage line has them.

    ``asks``: whether it asks for a reply when these arguments follow.
    """

    names: tuple[str, ...]
    arguments: str
    help: str
    example: str
    run: Callable[[Chat, str], SlashResult]
    asks: Callable[[str], bool] = never

    @property
    def usage(self) -> str:
        return f"/{self.names[0]} {self.arguments}".rstrip()
