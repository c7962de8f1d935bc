"""What a person wants done with a session of the list: another title, a file of it, one from a file. Knows no widgets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from lmlab.errors import UsageError
from lmlab.lab import export, importing
from lmlab.lab.chat import Chat
from lmlab.settings import expanded
from lmlab.store import Session
from lmlab.terminal_text import one_line
from lmlab.tui.format import count

_NAME = 40
_CALLED = 28


@dataclass(frozen=True, slots=True)
class Done:
    """What to say, and the id of the session that it was done with."""

    said: str
    session: str


class SessionWishes:
    """Each raises LmlabError when it cannot be done. What would overwrite or double is done when it is asked for twice."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._refused = ""

    def begin(self) -> None:
        """Something else is asked for: nothing was refused yet."""
        self._refused = ""

    def rename(self, session: Session, text: str) -> Done:
        chat = self._chat
        title = " ".join(text.split())
        if not title:
            raise UsageError("a title cannot be empty: give it some text, or esc leaves it as it is")
        if chat.session is not None and chat.session.id == session.id:
            chat.rename(title)
        else:
            chat.store.rename(session.id, title)
        return Done(f'{session.id} is now called "{one_line(title, _NAME)}"', session.id)

    def export(self, session: Session, path: str) -> Done:
        store = self._chat.store
        if not path:
            raise UsageError("name a file: .md is the transcript, .json everything")
        if os.path.lexists(expanded(path)):
            self._refuse_once(path, f"{path} exists: enter again overwrites it, or choose another name")
        where = export.save(
            path,
            store.session(session.id),
            store.path(session.id),
            store.turns(session.id),
            store.chosen(session.id),
            overwrite=self._refused == path,
        )
        return Done(f"wrote {where}", session.id)

    def bring_in(self, path: str) -> Done:
        store = self._chat.store
        if not path:
            raise UsageError("name a .json or .md file that was exported")
        incoming = importing.read_file(path)
        name = incoming.session.id
        there = bool(name) and store.has_session(name)
        if there:
            self._refuse_once(path, f"session {name} is there already: enter again imports it as another")
        added = importing.put(store, incoming, copy=there)
        return Done(f"imported {called(added)} as {added.id}, {count(len(incoming.turns), 'message')}", added.id)

    def _refuse_once(self, what: str, why: str) -> None:
        if self._refused != what:
            self._refused = what
            raise UsageError(why)


def called(session: Session) -> str:
    return f'"{one_line(session.title, _CALLED) or session.id}"'


def file_name(session: Session) -> str:
    """Return a name, without its ending, that any system takes for a file."""
    words = re.findall(r"\w+", session.title.lower())
    return "-".join(words)[:_NAME].strip("-") or session.id
