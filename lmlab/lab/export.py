"""A session as a file: Markdown to read, JSON with everything in it. Knows nothing of chats under way."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmlab.errors import StoreError, UsageError
from lmlab.lab.candidate_words import standing
from lmlab.settings import expanded, write_private
from lmlab.store import Session, Turn, reply_to_dict


def save(path: str, session: Session, selected: Sequence[Turn], tree: Sequence[Turn], overwrite: bool) -> Path:
    """Write ``selected`` to a ``.md`` or ``tree`` to a ``.json`` file and return where it is, absolute.

    Raises UsageError when the name ends otherwise or the file exists (unless ``overwrite``), StoreError when it cannot
    be written.
    """
    file = expanded(path).absolute()
    kind = file.suffix.lower()
    if kind == ".md":
        text = to_markdown(session, selected)
    elif kind == ".json":
        text = to_json(session, tree)
    else:
        raise UsageError(f"{path}: end the name in .md for a transcript, or in .json for everything")
    if os.path.lexists(file) and not overwrite:
        raise UsageError(f"{path} exists: choose another name, or put --overwrite after it")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}: make it, or choose another name")
    try:
        write_private(file, text)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; choose another place, or make room there"
        ) from None
    return file


def to_markdown(session: Session, turns: Sequence[Turn]) -> str:
    """Return the transcript: what was said, by whom, and a line of small print under each reply."""
    parts = [f"# {session.title or session.id}"]
    if session.system:
        parts.append(f"## System\n\n{session.system}")
    for turn in turns:
        if turn.reply is None:
            files = [f"Attached: {file.name} ({len(file.text):,} characters)" for file in turn.attachments]
            parts.append("\n\n".join(["## You", *files, turn.content]).rstrip())
        else:
            name = turn.reply.model or "Reply"
            parts.append("\n\n".join(part for part in (f"## {name}", turn.content.strip(), _small_print(turn)) if part))
    return "\n\n".join(parts) + "\n"


def to_json(session: Session, tree: Sequence[Turn], *, ascii_only: bool = False) -> str:
    """Return everything as indented JSON."""
    return json.dumps(to_dict(session, tree), ensure_ascii=ascii_only, indent=2) + "\n"


def to_dict(session: Session, tree: Sequence[Turn]) -> dict[str, Any]:
    """Return the session and all its turns, branches too, as JSON values."""
    return {
        "session": {**asdict(session), "created": session.created.isoformat(), "updated": session.updated.isoformat()},
        "turns": [_turn_to_dict(turn) for turn in tree],
    }


def _turn_to_dict(turn: Turn) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": turn.id,
        "parent": turn.parent,
        "role": turn.role,
        "content": turn.content,
        "created": turn.created.isoformat(),
    }
    if turn.attachments:
        values["attachments"] = [asdict(file) for file in turn.attachments]
    if turn.reply is not None:
        values["reply"] = reply_to_dict(turn.reply)
    return values


def _small_print(turn: Turn) -> str:
    reply = turn.reply
    assert reply is not None
    notes = [said] if (said := standing(reply)) else []
    if reply.status == "partial":
        notes.append("cut off")
    elif reply.finish_reason not in ("stop", None):
        notes.append(f"ended: {reply.finish_reason}")
    if reply.error:
        notes.append(reply.error)
    if reply.sampling is not None:
        notes += [f"temperature {reply.sampling.temperature:g}", f"seed {reply.sampling.seed}"]
    notes += [f"{name} {old} → {new} at token {at}" for at, name, old, new in reply.changes]
    return f"*{' · '.join(notes)}*" if notes else ""
