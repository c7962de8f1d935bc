"""``/best-of``, ``/select`` and ``/candidates``: several replies to one message. Knows nothing of screens."""

from __future__ import annotations

from lmlab.errors import UsageError
from lmlab.lab.best_of import SELECTORS, parse_selector
from lmlab.lab.candidate_words import listed
from lmlab.lab.chat import Chat
from lmlab.store import Turn
from lmlab.worker.messages import MOST_CANDIDATES

OFF = "off"


def best_of(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/best-of``, ``/best-of N``, ``/best-of off``; return what to show."""
    if rest:
        chat.set_best_of(_count(rest))
    info = chat.info
    lines = [describe(chat)]
    if info is not None and chat.model is not None and chat.best_of > info.layout.sequences > 1:
        at_once = info.layout.sequences
        lines.append(
            f"{chat.model.ref} was loaded for {at_once} at once, the others wait for their turn: "
            f"/model {chat.model.ref} loads it for {chat.best_of}"
        )
    return tuple(lines)


def select(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/select``, ``/select S``; return what to show."""
    if rest:
        chat.set_selector(parse_selector(rest))
    choices = () if rest else (f"there are {SELECTORS}",)
    if chat.best_of > 1:
        return (describe(chat), *choices)
    now = f"{chat.selector} chooses, once there is something to choose from: /best-of N draws N candidates"
    return (now, *choices)


def describe(chat: Chat) -> str:
    """Return one line: how many candidates are drawn, and what chooses."""
    if chat.best_of == 1:
        return "one reply is drawn; /best-of N draws N and keeps the best"
    return f"best of {chat.best_of}, chosen by {chat.selector}"


def replies(chat: Chat) -> tuple[Turn, ...]:
    """Return the replies to the last question, oldest first."""
    last = chat.turns[-1] if chat.turns else None
    return chat.siblings(last) if last is not None and last.reply is not None else ()


def show(chat: Chat) -> tuple[str, ...]:
    """Return the lines that list the replies to the last question."""
    found = _some(chat)
    lines = tuple(listed(found, chat.turns[-1].id))
    return lines if len(found) == 1 else (*lines, "/candidates K goes on from another")


def go_to(chat: Chat, number: str) -> tuple[str, ...]:
    """Go on from the reply that ``show`` lists under ``number``; return what to show. Raises UsageError."""
    found = _some(chat)
    if not number.isdecimal() or not 1 <= int(number) <= len(found):
        raise UsageError(f"/candidates {number}: give a number from 1 to {len(found)}")
    chat.select(found[int(number) - 1])
    return (f"going on from reply {int(number)} of {len(found)}",)


def _some(chat: Chat) -> tuple[Turn, ...]:
    found = replies(chat)
    if not found:
        raise UsageError("there is no reply yet: send a message first")
    return found


def _count(text: str) -> int:
    if text.lower() == OFF:
        return 1
    if not text.isdecimal():
        raise UsageError(f"/best-of {text}: give a whole number from 1 to {MOST_CANDIDATES}, or {OFF}")
    return int(text)
