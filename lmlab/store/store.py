"""Sessions on disk: each a tree of turns of which one path is selected. Safe to use from any thread.

Whatever a method wrote is on disk when it returns. Knows nothing of models, replies under way or screens. Every method
raises StoreError, one line that says what to do.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path

from lmlab.errors import StoreError
from lmlab.store import pruning, whole
from lmlab.store.connection import Connect, Connection
from lmlab.store.records import Attachment, Pruned, Reply, Session, TemplateUse, Turn
from lmlab.store.rows import (
    SESSION_COLUMNS,
    TURN_COLUMNS,
    attachments_column,
    prompt_column,
    reply_columns,
    session_from_row,
    turn_from_row,
)
from lmlab.store.search import Found, Search
from lmlab.terminal_text import one_line

TITLE_LENGTH = 60

_PORTION = 500

# Without the letters and digits that are read for one another.
_FIRST = "abcdefghjkmnpqrstuvwxyz"
_REST = _FIRST + "23456789"


class Store:
    """The sessions of the database at ``path``. ``connect`` is for tests: it opens the SQLite connection."""

    def __init__(self, path: Path, *, connect: Connect = sqlite3.connect) -> None:
        self._connection = Connection(path, connect)

    @property
    def file(self) -> Path:
        return self._connection.path

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is written inside at once, or nothing of it."""
        with self._connection.transaction():
            yield

    # Sessions

    def create_session(self, *, model: str | None = None, system: str | None = None, title: str = "") -> Session:
        """Make an empty session; without a title its first message gives it one."""
        with self.transaction():
            name = self._free_id()
            now = _now()
            self._connection.write(
                "INSERT INTO session (id, title, created, updated, model, system) VALUES (?, ?, ?, ?, ?, ?)",
                (name, title, now, now, model, system),
            )
        return self.session(name)

    def sessions(self, limit: int | None = None) -> tuple[Session, ...]:
        """Return sessions, the one written to last first."""
        rows = self._connection.read(
            f"SELECT {SESSION_COLUMNS} FROM session ORDER BY updated DESC, rowid DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return tuple(session_from_row(row) for row in rows)

    def latest_session(self) -> Session | None:
        return next(iter(self.sessions(1)), None)

    def session(self, name: str) -> Session:
        """Return the session whose id is ``name`` or, alone, starts with it. Raises StoreError with ids like it."""
        rows = self._connection.read(
            f"SELECT {SESSION_COLUMNS} FROM session WHERE id = ? OR substr(id, 1, ?) = ? ORDER BY id = ? DESC, updated",
            (name, len(name), name, name),
        )
        if name and rows and (len(rows) == 1 or rows[0][0] == name):
            return session_from_row(rows[0])
        if name and rows:
            raise StoreError(f"{len(rows)} sessions start with {name!r}: {_listed([row[0] for row in rows])}")
        known = [session.id for session in self.sessions()]
        if not known:
            raise StoreError(f"no session is called {name!r}: there are none yet")
        near = get_close_matches(name, known, n=3)
        raise StoreError(
            f"no session is called {name!r}: did you mean {_listed(near)}?"
            if near
            else f"no session is called {name!r}: the latest is {known[0]}"
        )

    def rename(self, session: str, title: str) -> None:
        self._connection.write("UPDATE session SET title = ?, updated = ? WHERE id = ?", (title, _now(), session))

    def set_system(self, session: str, system: str | None) -> None:
        self._connection.write("UPDATE session SET system = ?, updated = ? WHERE id = ?", (system, _now(), session))

    def lengths(self) -> dict[str, int]:
        """Return how many messages the selected path of each session has; one without any is left out."""
        rows = self._connection.read(
            "WITH RECURSIVE line (session, turn) AS ("
            " SELECT id, leaf FROM session WHERE leaf IS NOT NULL"
            " UNION ALL SELECT line.session, parent FROM line JOIN turn ON turn.id = line.turn WHERE parent IS NOT NULL"
            ") SELECT session, count(*) FROM line GROUP BY session"
        )
        return dict(rows)

    def remove(self, session: str) -> None:
        """Remove the session and all its turns, on every branch."""
        with self.transaction():
            rows = self._connection.read("SELECT id FROM turn WHERE session = ? ORDER BY id", (session,))
            pruning.remove_rows(self._connection, [row[0] for row in rows])
            self._connection.write("DELETE FROM session WHERE id = ?", (session,))

    def search(self, text: str) -> tuple[Found, ...]:
        """Return the sessions in whose title or messages ``text`` is, the one written to last first.

        Case and the kind and amount of space do not matter, nothing else is special. Attached files are not searched.
        """
        search, last = Search(text), 0
        # In portions: others may write meanwhile, and memory does not grow with what was ever said.
        while rows := self._connection.read(
            "SELECT id, session, content FROM turn WHERE id > ? ORDER BY id LIMIT ?", (last, _PORTION)
        ):
            search.look((session, content) for _, session, content in rows)
            last = rows[-1][0]
        return search.found(self.sessions())

    def chosen(self, session: str) -> dict[int, int]:
        """Return, by the id of a turn, the child that was last selected below it."""
        return whole.chosen_children(self._connection, session)

    def has_session(self, name: str) -> bool:
        return bool(self._connection.read("SELECT 1 FROM session WHERE id = ?", (name,)))

    def add_session(self, session: Session, turns: Sequence[Turn], chosen: Mapping[int, int], *, copy: bool) -> Session:
        """Add a session that was kept elsewhere, whole, and return it as it is here: its turns get ids of this store.

        ``turns`` come each after its parent, ``chosen`` as ``chosen()`` has it. With ``copy`` it gets an id of its own;
        else its id must be free. Raises StoreError, with nothing written, when it is not.
        """
        with self.transaction():
            if copy:
                session = replace(session, id=self._free_id())
            elif self.has_session(session.id):
                raise StoreError(f"session {session.id} is there already")
            whole.put_session(self._connection, session, turns, chosen)
        return self.session(session.id)

    # Turns

    def add_turn(
        self,
        session: str,
        parent: int | None,
        content: str,
        *,
        attachments: tuple[Attachment, ...] = (),
        reply: Reply | None = None,
        prompt: TemplateUse | None = None,
    ) -> Turn:
        """Add a child of ``parent`` (None: a first message) and select it; with ``reply`` it is the model's."""
        status, tokens, record, logprobs = reply_columns(reply) if reply else ("done", None, None, None)
        role = "assistant" if reply else "user"
        title = "" if reply else one_line(content or next((file.name for file in attachments), ""), TITLE_LENGTH)
        now = _now()
        with self.transaction():
            name = self._connection.write(
                "INSERT INTO turn (session, parent, role, content, attachments, created, status, tokens, record,"
                " logprobs, prompt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(session, parent, role, content, attachments_column(attachments), now),
                    *(status, tokens, record, logprobs, prompt_column(prompt)),
                ),
            )
            self._choose(name)
            self._connection.write(
                "UPDATE session SET leaf = ?, updated = ?, title = CASE title WHEN '' THEN ? ELSE title END,"
                " model = coalesce(?, model) WHERE id = ?",
                (name, now, title, reply.model if reply else None, session),
            )
        return self.turn(name)

    def save_reply(self, turn: int, content: str, reply: Reply) -> None:
        """Write a reply as far as it has come. One that is ``done`` is not made ``partial`` again."""
        status, tokens, record, logprobs = reply_columns(reply)
        with self.transaction():
            self._connection.write(
                "UPDATE turn SET content = ?, status = ?, tokens = ?, record = ?, logprobs = ?"
                " WHERE id = ? AND (status = 'partial' OR ? = 'done')",
                (content, status, tokens, record, logprobs, turn, status),
            )
            self._connection.write(
                "UPDATE session SET updated = ?, model = coalesce(?, model)"
                " WHERE id = (SELECT session FROM turn WHERE id = ?)",
                (_now(), reply.model, turn),
            )

    def turn(self, name: int) -> Turn:
        rows = self._connection.read(f"SELECT {TURN_COLUMNS} FROM turn WHERE id = ?", (name,))
        if not rows:
            raise StoreError(f"there is no turn {name} in {self.file}")
        return turn_from_row(rows[0])

    def turns(self, session: str) -> tuple[Turn, ...]:
        """Return the whole tree, oldest first."""
        rows = self._connection.read(f"SELECT {TURN_COLUMNS} FROM turn WHERE session = ? ORDER BY id", (session,))
        return tuple(turn_from_row(row) for row in rows)

    def children(self, turn: int) -> tuple[Turn, ...]:
        """Return the turns that follow ``turn``, oldest first: regenerated replies, or other questions."""
        rows = self._connection.read(f"SELECT {TURN_COLUMNS} FROM turn WHERE parent = ? ORDER BY id", (turn,))
        return tuple(turn_from_row(row) for row in rows)

    def siblings(self, turn: Turn) -> tuple[Turn, ...]:
        """Return the turns beside ``turn``, itself among them, oldest first."""
        rows = self._connection.read(
            f"SELECT {TURN_COLUMNS} FROM turn WHERE session = ? AND parent IS ? ORDER BY id",
            (turn.session, turn.parent),
        )
        return tuple(turn_from_row(row) for row in rows)

    def line(self, turn: int) -> tuple[Turn, ...]:
        """Return the turns that lead to ``turn``, first message first, itself the last."""
        return self._line("SELECT ?, 0", turn)

    def path(self, session: str) -> tuple[Turn, ...]:
        """Return the selected turns, first message to leaf."""
        return self._line("SELECT leaf, 0 FROM session WHERE id = ? AND leaf IS NOT NULL", session)

    def select(self, turn: int) -> tuple[Turn, ...]:
        """Select ``turn`` and, below it, what was selected there last; return the path."""
        with self.transaction():
            chosen = self.turn(turn)
            self._choose(turn)
            rows = self._connection.read(
                "WITH RECURSIVE line (id, depth) AS ("
                " SELECT ?, 0 UNION ALL"
                " SELECT turn.chosen, depth + 1 FROM line JOIN turn ON turn.id = line.id WHERE turn.chosen IS NOT NULL"
                ") SELECT id FROM line ORDER BY depth DESC LIMIT 1",
                (turn,),
            )
            self._connection.write("UPDATE session SET leaf = ? WHERE id = ?", (rows[0][0], chosen.session))
        return self.path(chosen.session)

    def end_at(self, turn: int) -> tuple[Turn, ...]:
        """Select ``turn`` and nothing below it; return the path."""
        with self.transaction():
            session = self.turn(turn).session
            self._choose(turn)
            self._connection.write("UPDATE session SET leaf = ? WHERE id = ?", (turn, session))
        return self.path(session)

    def prune(self, turn: int) -> Pruned:
        """Remove ``turn`` and all below it; return what ``restore`` takes.

        A selected path that led there leads to the sibling after it, else to the one before, else ends at the parent.
        """
        with self.transaction():
            there = self.turn(turn)
            beside = [sibling.id for sibling in self.siblings(there)]
            place = beside.index(turn)
            near = next(iter((*beside[place + 1 :], *reversed(beside[:place]))), None)
            pruned = pruning.take_out(self._connection, there)
            if self.session(there.session).leaf is None and pruned.leaf is not None:
                if near is not None:
                    self.select(near)
                elif there.parent is not None:
                    self.end_at(there.parent)
            elif pruned.chosen == turn and near is not None:
                self._connection.write("UPDATE turn SET chosen = ? WHERE id = ?", (near, there.parent))
            self._touch(there.session)
        return pruned

    def restore(self, pruned: Pruned) -> None:
        """Put back what ``prune`` removed, ids included; a path that was selected there is selected again.

        Raises StoreError when what it followed is gone, or when it is there already.
        """
        with self.transaction():
            pruning.put_back(self._connection, pruned)
            if pruned.leaf in (row[0] for row in pruned.rows):
                assert pruned.leaf is not None
                self.end_at(pruned.leaf)
            self._touch(pruned.turn.session)

    def _line(self, start: str, value: str | int) -> tuple[Turn, ...]:
        rows = self._connection.read(
            f"WITH RECURSIVE line (turn, depth) AS ({start}"
            " UNION ALL SELECT parent, depth + 1 FROM line JOIN turn ON turn.id = line.turn WHERE parent IS NOT NULL"
            f") SELECT {TURN_COLUMNS} FROM line JOIN turn ON turn.id = line.turn ORDER BY depth DESC",
            (value,),
        )
        return tuple(turn_from_row(row) for row in rows)

    def _touch(self, session: str) -> None:
        self._connection.write("UPDATE session SET updated = ? WHERE id = ?", (_now(), session))

    def _choose(self, turn: int) -> None:
        """Make ``turn`` and each of its ancestors the child last selected below its parent."""
        self._connection.write(
            "WITH RECURSIVE line (id, parent) AS ("
            " SELECT id, parent FROM turn WHERE id = ?"
            " UNION ALL SELECT turn.id, turn.parent FROM line JOIN turn ON turn.id = line.parent"
            ") UPDATE turn SET chosen = (SELECT line.id FROM line WHERE line.parent = turn.id)"
            " WHERE id IN (SELECT parent FROM line)"
            " AND chosen IS NOT (SELECT line.id FROM line WHERE line.parent = turn.id)",
            (turn,),
        )

    def _free_id(self) -> str:
        while True:
            name = secrets.choice(_FIRST) + "".join(secrets.choice(_REST) for _ in range(5))
            if not self._connection.read("SELECT 1 FROM session WHERE id = ?", (name,)):
                return name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
