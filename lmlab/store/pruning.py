"""Removing a branch of a session's tree, and putting it back with its ids. Knows nothing of what the turns say.

Whoever calls these holds a transaction.
"""

from __future__ import annotations

from lmlab.errors import StoreError
from lmlab.store.connection import Connection
from lmlab.store.records import Pruned, Turn

# Of all columns, so that a branch comes back whole.
_COLUMNS = "id, session, parent, chosen, role, content, attachments, created, status, tokens, record, logprobs, prompt"
_BELOW = (
    "WITH RECURSIVE below (id) AS ( SELECT ? UNION ALL SELECT turn.id FROM below JOIN turn ON turn.parent = below.id)"
)


def take_out(connection: Connection, turn: Turn) -> Pruned:
    """Remove ``turn`` and all below it. What pointed at them points at nothing."""
    rows = connection.read(
        f"{_BELOW} SELECT {_COLUMNS} FROM turn WHERE id IN (SELECT id FROM below) ORDER BY id", (turn.id,)
    )
    ((leaf,),) = connection.read("SELECT leaf FROM session WHERE id = ?", (turn.session,))
    above = connection.read("SELECT chosen FROM turn WHERE id = ?", (turn.parent,))
    remove_rows(connection, [row[0] for row in rows])
    return Pruned(turn, tuple(rows), leaf, above[0][0] if above else None)


def put_back(connection: Connection, pruned: Pruned) -> None:
    """Insert what ``take_out`` removed. Raises StoreError when the place is gone, or taken."""
    turn = pruned.turn
    if not connection.read("SELECT 1 FROM session WHERE id = ?", (turn.session,)):
        raise StoreError(f"session {turn.session} is gone, and with it the place of the messages to bring back")
    if connection.read("SELECT 1 FROM turn WHERE id = ?", (turn.id,)):
        raise StoreError(f"message {turn.id} of session {turn.session} is there already")
    if turn.parent is not None and not connection.read("SELECT 1 FROM turn WHERE id = ?", (turn.parent,)):
        raise StoreError("what these messages followed was removed too: bring that back first")
    places = ", ".join("?" for _ in _COLUMNS.split(","))
    # Ids rise from parent to child.
    for row in pruned.rows:
        connection.write(f"INSERT INTO turn ({_COLUMNS}) VALUES ({places})", row)
    if pruned.chosen == turn.id:
        connection.write("UPDATE turn SET chosen = ? WHERE id = ?", (turn.id, turn.parent))


def remove_rows(connection: Connection, turns: list[int]) -> None:
    """Remove ``turns``, which rise from parent to child, from the leaves up: SQLite follows a chain of references only
    a thousand deep."""
    for name in reversed(turns):
        connection.write("DELETE FROM turn WHERE id = ?", (name,))
