"""A whole session put into the store at once: its turns keep their order and times and get ids of this store.

Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmlab.store.connection import Connection
from lmlab.store.records import Branch, Reply, Session, Turn
from lmlab.store.rows import attachments_column, prompt_column, reply_columns


def chosen_children(connection: Connection, session: str) -> dict[int, int]:
    """Return the child last selected below each turn that has one."""
    rows = connection.read("SELECT id, chosen FROM turn WHERE session = ? AND chosen IS NOT NULL", (session,))
    return dict(rows)


def put_session(connection: Connection, session: Session, turns: Sequence[Turn], chosen: Mapping[int, int]) -> None:
    """Write ``session`` under its id, which is free, and ``turns``, each after its parent. Within a transaction."""
    connection.write(
        "INSERT INTO session (id, title, created, updated, model, system) VALUES (?, ?, ?, ?, ?, ?)",
        (
            *(session.id, session.title, session.created.isoformat(timespec="microseconds")),
            *(session.updated.isoformat(timespec="microseconds"), session.model, session.system),
        ),
    )
    here: dict[int, int] = {}
    for turn in turns:
        here[turn.id] = _put_turn(connection, session.id, turn, here)
    for parent, child in chosen.items():
        connection.write("UPDATE turn SET chosen = ? WHERE id = ?", (here[child], here[parent]))
    if session.leaf is not None:
        connection.write("UPDATE session SET leaf = ? WHERE id = ?", (here[session.leaf], session.id))


def _put_turn(connection: Connection, session: str, turn: Turn, here: Mapping[int, int]) -> int:
    reply = None if turn.reply is None else _at_home(turn.reply, here)
    status, tokens, record, logprobs = reply_columns(reply) if reply else ("done", None, None, None)
    return connection.write(
        "INSERT INTO turn (session, parent, role, content, attachments, created, status, tokens, record, logprobs,"
        " prompt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(session, None if turn.parent is None else here[turn.parent], turn.role, turn.content),
            *(attachments_column(turn.attachments), turn.created.isoformat(timespec="microseconds")),
            *(status, tokens, record, logprobs, prompt_column(turn.prompt)),
        ),
    )


def _at_home(reply: Reply, here: Mapping[int, int]) -> Reply:
    """Return ``reply`` with the turn it was branched from under its id here; 0, which is no turn's, if that is gone."""
    if reply.branch is None:
        return reply
    return replace(reply, branch=Branch(here.get(reply.branch.turn, 0), reply.branch.at))
