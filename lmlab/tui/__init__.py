"""The chat on a screen. Importing this costs nothing; the screen's library is loaded when it is run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lmlab.terminal_text import visible

if TYPE_CHECKING:
    from lmlab.lab.chat import Chat
    from lmlab.lab.events import ChatEvent
    from lmlab.tui.keymap import Keymap

__all__ = ["run_chat"]

# How many moments a second Textual draws at; it reads the number when it is first imported. At its usual 60 a key may wait
# 17 ms for one, and then for the processor, which the model's threads have.
os.environ.setdefault("TEXTUAL_FPS", "120")


def run_chat(
    make_chat: Callable[[Callable[[ChatEvent], None]], Chat],
    *,
    model_ref: str | None,
    theme: str | None,
    history: Path,
    aliases: Iterable[str] = (),
    keys: Keymap | None = None,
) -> int:
    """Run the chat until the person leaves; return the exit code. ``make_chat`` gets the listener for its events.

    ``aliases`` of models are offered after ``/model``, besides the catalogue's names. ``keys``: None has the defaults.
    The model is opened once the screen is there. Raises what ``make_chat`` raises, and, with the terminal restored,
    any unexpected exception. How to go on with the session, and what could not be saved, is said on stderr at the end.
    """
    import asyncio
    import gc

    from lmlab.lab.events import SaveFailed
    from lmlab.models.catalogue import ENTRIES
    from lmlab.tui.app import ChatApp
    from lmlab.tui.history import History
    from lmlab.tui.inbox import Inbox
    from lmlab.tui.signals import answered

    inbox: Inbox[ChatEvent] = Inbox()
    chat = make_chat(inbox.put)
    names = [*aliases, *(entry.name for entry in ENTRIES)]
    app = ChatApp(chat, inbox, History(history), model_ref=model_ref, model_names=names, theme=theme, keys=keys)
    # What is there by then stays: the collector need not look through it while somebody types.
    app.at_first_picture = gc.freeze
    try:
        # Not app.run() alone: that makes a loop of its own, and takes interrupts for itself.
        with asyncio.Runner() as runner, answered(app, chat.stop, runner.get_loop()):
            code = app.run(loop=runner.get_loop())
    finally:
        inbox.drain()
        chat.close()
    unsaved = [event.error for event in inbox.drain() if isinstance(event, SaveFailed)]
    if unsaved:
        _say(f"lmlab: the end of the last reply is not saved: {unsaved[-1]}")
    if chat.session is not None and chat.turns:
        saved = "goes on with what was saved" if unsaved else "is saved"
        _say(f"session {chat.session.id} {saved}: lmlab chat --session {chat.session.id}")
    if app.failure is not None:
        raise app.failure
    return code or (1 if unsaved else 0)


def _say(text: str) -> None:
    # The terminal may be gone.
    with suppress(OSError):
        sys.stderr.write(visible(" ".join(text.splitlines())) + "\n")
        sys.stderr.flush()
