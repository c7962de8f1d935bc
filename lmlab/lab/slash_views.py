"""``/tokens``, ``/prompt``, ``/sessions``: commands that open a view on the screen. Knows nothing of the views."""

from __future__ import annotations

from lmlab.errors import UsageError
from lmlab.lab.chat import Chat
from lmlab.lab.slash_command import Command, SlashResult, View

_ELSEWHERE = "that is a view of the screen: start lmlab chat in a terminal, without --plain"


def _opening(view: View, *lines: str) -> Command:
    def run(chat: Chat, rest: str) -> SlashResult:
        if rest:
            raise UsageError(f"/{view} takes no arguments; // sends a message that begins with a slash")
        return SlashResult(lines or (_ELSEWHERE,), view=view)

    return Command((view,), "", _HELP[view], f"/{view}", run)


_HELP: dict[View, str] = {
    "tokens": "See what the model weighed at each token of a reply.",
    "prompt": "Choose a prompt template and see the exact text that the model gets.",
    "sessions": "See all sessions: search, open, rename, export.",
}

COMMANDS: tuple[Command, ...] = (
    _opening("tokens"),
    _opening("prompt"),
    _opening("sessions", _ELSEWHERE, "lmlab sessions lists them all"),
)
