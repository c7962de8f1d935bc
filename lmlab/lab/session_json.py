"""The JSON of an exported session, checked and turned into records. Knows nothing of files or of the store.

What is read may be cut off, written by hand or by another version: every error is one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from lmlab.errors import SamplingError, UsageError
from lmlab.lab.checking import misfit
from lmlab.lab.export import FORMAT
from lmlab.store import Attachment, Reply, Session, Turn, prompt_from_dict, reply_from_dict
from lmlab.terminal_text import one_line

SESSION_ID = re.compile("[a-z][a-z0-9]{5}")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A session that came from a file: ``turns`` each after its parent, ``chosen`` the child selected below a turn."""

    session: Session
    turns: tuple[Turn, ...]
    chosen: Mapping[int, int]


def from_json(text: str) -> Incoming:
    """Return what ``to_json`` wrote, in this version or before. Raises UsageError that says what is wrong with it."""
    try:
        document = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise UsageError("it nests too deep to have been exported by lmlab") from None
    except ValueError as error:
        raise UsageError(f"it is cut off or not JSON: {one_line(str(error))}") from None
    version = document.get("lmlab_session", 1)
    if not isinstance(version, int) or version < 1 or not {"session", "turns"} <= set(document):
        raise UsageError("it is JSON, but no session that lmlab exported")
    if version > FORMAT:
        raise UsageError(
            f"a newer lmlab wrote it (format {version}, this one knows {FORMAT}): pip install --upgrade lmlab"
        )
    _only(document, {"lmlab_session", "session", "turns"}, "the file")
    session = _session(document["session"])
    if not isinstance(document["turns"], list):
        raise UsageError("its turns are no list")
    turns: dict[int, Turn] = {}
    chosen: dict[int, int] = {}
    for number, values in enumerate(document["turns"], 1):
        turn = _turn(f"message {number}", values, session.id, turns)
        turns[turn.id] = turn
        if "chosen" in values:
            chosen[turn.id] = values["chosen"]
    if session.leaf is not None and session.leaf not in turns:
        raise UsageError(f"its selected path ends at message {session.leaf}, which is not in it")
    if version == 1:
        chosen = _chosen_before_format_2(turns, session.leaf)
    for parent, child in chosen.items():
        if not isinstance(child, int) or child not in turns or turns[child].parent != parent:
            raise UsageError(f"below message {parent} it chose {one_line(repr(child), 40)}, which is no child of it")
    return Incoming(session, tuple(turns.values()), chosen)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _session(values: Any) -> Session:
    _only(values, set(Session.__slots__), "the session")
    try:
        session = Session(**{**values, "created": _time(values["created"]), "updated": _time(values["updated"])})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _wrong("the session", error) from None
    if (problem := misfit(session, Session)) is not None:
        raise UsageError(f"the session: {problem}")
    if not SESSION_ID.fullmatch(session.id):
        raise UsageError(f"{one_line(session.id, 40)!r} is no id of a session")
    return session


_TURN_KEYS = {"id", "parent", "role", "content", "created", "chosen", "attachments", "prompt", "reply"}


def _turn(where: str, values: Any, session: str, before: Mapping[int, Turn]) -> Turn:
    _only(values, _TURN_KEYS, where)
    try:
        turn = Turn(
            id=values["id"],
            session=session,
            parent=values["parent"],
            content=values["content"],
            created=_time(values["created"]),
            attachments=tuple(Attachment(**file) for file in values.get("attachments", ())),
            reply=reply_from_dict(values["reply"]) if "reply" in values else None,
            prompt=prompt_from_dict(values["prompt"]) if "prompt" in values else None,
        )
        problem = misfit(turn, Turn) or _out_of_place(turn, values["role"], before)
        if problem is None and turn.reply is not None:
            problem = _unusable(turn.reply)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, SamplingError) as error:
        raise _wrong(where, error) from None
    if problem is not None:
        raise UsageError(f"{where}: {problem}")
    return turn


def _out_of_place(turn: Turn, role: object, before: Mapping[int, Turn]) -> str | None:
    if turn.id in before:
        return f"its id {turn.id} is that of another before it"
    if turn.parent is not None and turn.parent not in before:
        return f"it follows message {turn.parent}, which is not before it"
    if role != turn.role:
        return f"its role {one_line(repr(role), 40)} and its reply do not go together"
    if turn.reply is None:
        return None
    if turn.prompt is not None or turn.attachments:
        return "a reply has no template and no attachments"
    question = None if turn.parent is None else before[turn.parent]
    return "a reply must follow a message of the user" if question is None or question.reply is not None else None


def _unusable(reply: Reply) -> str | None:
    """Return what in a record that is well formed cannot have been."""
    if any(not 0 <= token < 2**31 for token in reply.tokens):
        return "a token id is out of range"
    if reply.logprobs is not None and len(reply.logprobs) > len(reply.tokens):
        return f"it has {len(reply.logprobs):,} log-probabilities for {len(reply.tokens):,} tokens"
    if reply.sampling is not None and (reply.sampling.temperature is None or reply.sampling.seed is None):
        return "its sampling lacks the temperature or the seed that was in force"
    asked = reply.asked
    for _, name, old, new in reply.changes:
        asked.with_value(name, old)
        asked.with_value(name, new)
    return None


def _chosen_before_format_2(turns: Mapping[int, Turn], leaf: int | None) -> dict[int, int]:
    """Return what that format did not say: along the selected path it is known, elsewhere the youngest is taken."""
    chosen = {turn.parent: turn.id for turn in turns.values() if turn.parent is not None}
    while leaf is not None and (parent := turns[leaf].parent) is not None:
        chosen[parent] = leaf
        leaf = parent
    return chosen


def _time(text: Any) -> datetime:
    if not isinstance(text, str):
        raise TypeError("a time is no text")
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"the time {text!r} does not say its zone")
    return time.astimezone(UTC)


def _only(values: Any, known: set[str], where: str) -> None:
    if not isinstance(values, dict):
        raise UsageError(f"{where} is no JSON object")
    if unknown := set(values) - known:
        raise UsageError(
            f"{where} has {one_line(repr(min(unknown)), 40)}, which this lmlab does not know: is it newer?"
        )


def _wrong(where: str, error: Exception) -> UsageError:
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return UsageError(f"{where}: {one_line(text)}")
