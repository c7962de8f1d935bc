"""``/tree``, ``/edit``, ``/fork``, ``/prune``, ``/undo``, ``/rename``: the tree of the conversation, message by message.

A number K is a message's place among all of the session, oldest first, as ``/tree`` shows it. Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Iterator

from lmlab.errors import UsageError
from lmlab.lab.chat import Chat
from lmlab.lab.slash_command import Command, SlashResult
from lmlab.lab.tree import Row, tree, walk
from lmlab.store import Turn
from lmlab.terminal_text import one_line

_BEGINNING = 60
_NAME = 16


def show(chat: Chat, rest: str) -> SlashResult:
    """``/tree``, ``/tree K``."""
    if rest:
        turn = numbered(chat, rest)
        chat.select(turn)
        return SlashResult((f"going on from message {rest}",), "moved")
    return SlashResult((*_lines(chat), "/tree K goes on from message K"), view="tree")


def edit(chat: Chat, rest: str) -> SlashResult:
    """``/edit``, ``/edit K``, ``/edit TEXT``, ``/edit K TEXT``."""
    number, text = _split(rest)
    if number:
        turn = numbered(chat, number)
    else:
        mine = [one for one in chat.turns if one.reply is None]
        if not mine:
            raise UsageError("there is no message to edit yet: send one first")
        turn = mine[-1]
    if text:
        chat.edit(turn, text)
        return SlashResult(action="resent")
    if turn.reply is not None:
        raise UsageError(f"message {number} is a reply: edit one of your own, or /regen asks for another reply")
    number = number or str([one.id for one in chat.tree()].index(turn.id) + 1)
    said = one_line(turn.content, _BEGINNING)
    return SlashResult(
        (f'message {number} is "{said}"', f"/edit {number} TEXT sends TEXT beside it"), "edit", turn=turn
    )


def fork(chat: Chat, rest: str) -> SlashResult:
    """``/fork``, ``/fork K``."""
    if rest:
        turn = numbered(chat, rest)
    else:
        replies = [one for one in chat.turns[:-1] if one.reply is not None]
        if not replies:
            raise UsageError("there is no earlier reply to go on from: /edit TEXT asks something else at the beginning")
        turn = replies[-1]
    chat.fork(turn)
    return SlashResult((f'your next message follows "{one_line(turn.content, _BEGINNING)}"',), "moved")


def prune(chat: Chat, rest: str) -> SlashResult:
    """``/prune K``."""
    if not rest:
        raise UsageError("/prune needs a number: /tree lists the messages with theirs")
    count = chat.prune(numbered(chat, rest)).count
    gone = "1 message is gone" if count == 1 else f"{count:,} messages are gone"
    return SlashResult((f"{gone}: /undo brings back what was there",), "none" if chat.replying else "moved")


def undo(chat: Chat, rest: str) -> SlashResult:
    """``/undo``."""
    if rest:
        raise UsageError("/undo takes no arguments: it brings back what was pruned last")
    if not chat.pruned:
        raise UsageError("there is nothing to bring back: /undo takes back /prune, as long as the session is open")
    pruned = chat.pruned[-1]
    chat.restore(pruned)
    return SlashResult(("it is back" if pruned.count == 1 else f"{pruned.count:,} messages are back",), "moved")


def rename(chat: Chat, rest: str) -> SlashResult:
    """``/rename TITLE``."""
    chat.rename(rest)
    assert chat.session is not None
    return SlashResult((f"the session is called {chat.session.title}",))


def numbered(chat: Chat, number: str) -> Turn:
    """Return the message that ``/tree`` shows under ``number``. Raises UsageError."""
    turns = chat.tree()
    if not turns:
        raise UsageError("there is no message yet: send one first")
    if not number.isdecimal() or not 1 <= int(number) <= len(turns):
        raise UsageError(
            f"there is no message {one_line(number, 20)}: give a number from 1 to {len(turns)}, as /tree has it"
        )
    return turns[int(number) - 1]


def _split(rest: str) -> tuple[str, str]:
    first, _, text = rest.partition(" ")
    return (first, text.strip()) if first.isdecimal() else ("", rest)


def _lines(chat: Chat) -> Iterator[str]:
    turns = chat.tree()
    if not turns:
        raise UsageError("there is no message yet: send one first")
    numbers = {turn.id: number for number, turn in enumerate(turns, 1)}
    width = len(str(len(turns)))
    for row in walk(tree(turns, chat.turns)):
        mark = "›" if row.node.selected else " "
        yield f"{mark} {numbers[row.turn.id]:>{width}}  {'  ' * row.depth}{_line(row)}"


def _line(row: Row) -> str:
    turn = row.turn
    who = "you" if turn.reply is None else one_line(turn.reply.model or "reply", _NAME)
    place = f" ({row.place} of {row.of})" if row.of > 1 else ""
    return f"{who}{place}: {one_line(turn.content, _BEGINNING)}"


COMMANDS: tuple[Command, ...] = (
    Command(
        ("edit",),
        "[K] TEXT",
        "Send another wording of your last message, or of message K of /tree; the old one stays.",
        "/edit What is the capital of Peru?",
        edit,
        asks=lambda rest: bool(_split(rest)[1]),
    ),
    Command(("tree",), "[K]", "Show all branches of the conversation, or go on from message K.", "/tree 4", show),
    Command(
        ("fork",),
        "[K]",
        "Let your next message follow an earlier reply: the one before your last message, or K of /tree.",
        "/fork",
        fork,
    ),
    Command(("prune",), "K", "Remove message K of /tree and all below it.", "/prune 7", prune),
    Command(("undo",), "", "Bring back what was pruned last.", "/undo", undo),
    Command(("rename",), "TITLE", "Give the session another title.", "/rename Trains", rename),
)
