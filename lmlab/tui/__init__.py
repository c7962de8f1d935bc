"""The chat on a screen. Importing this costs nothing; the screen's library is loaded when it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmlab.lab.chat import Chat
    from lmlab.lab.events import ChatEvent

__all__ = ["run_chat"]


def run_chat(
    make_chat: Callable[[Callable[[ChatEvent], None]], Chat],
    *,
    model_ref: str | None,
    theme: str | None,
    history: Path,
    aliases: Iterable[str] = (),
) -> int:
    """Run the chat until the person leaves; return the exit code. ``make_chat`` gets the listener for its events.

    ``aliases`` of models are offered after ``/model``, besides the catalogue's names.
    The model is opened once the screen is there. Raises what ``make_chat`` raises, and, with the terminal restored,
    any unexpected exception. How to go on with the session is said on stderr at the end.
    """
    from lmlab.models.catalogue import ENTRIES
    from lmlab.tui.app import ChatApp
    from lmlab.tui.history import History
    from lmlab.tui.inbox import Inbox

    inbox: Inbox[ChatEvent] = Inbox()
    chat = make_chat(inbox.put)
    names = [*aliases, *(entry.name for entry in ENTRIES)]
    app = ChatApp(chat, inbox, History(history), model_ref=model_ref, model_names=names, theme=theme)
    try:
        code = app.run()
    finally:
        chat.close()
    if chat.session is not None and chat.turns:
        sys.stderr.write(f"session {chat.session.id} is saved: lmlab chat --session {chat.session.id}\n")
    if app.failure is not None:
        raise app.failure
    return code or 0
