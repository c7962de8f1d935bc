"""A session as a file: Markdown to read, JSON with everything in it. Knows nothing of chats under way."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lmlab.errors import StoreError, UsageError
from lmlab.lab.transcript import to_markdown
from lmlab.settings import expanded, write_private
from lmlab.store import Session, Turn, prompt_to_dict, reply_to_dict

FORMAT = 2
"""Version 1 had no number, and did not say which child of a turn was chosen."""


def save(
    path: str,
    session: Session,
    selected: Sequence[Turn],
    tree: Sequence[Turn],
    chosen: Mapping[int, int],
    overwrite: bool,
) -> Path:
    """Write ``selected`` to a ``.md``, or ``tree`` and ``chosen`` to a ``.json`` file; return where it is, absolute.

    Raises UsageError when the name ends otherwise or the file exists (unless ``overwrite``), StoreError when it cannot
    be written.
    """
    file = expanded(path).absolute()
    kind = file.suffix.lower()
    if kind == ".md":
        text = to_markdown(session, selected, places=True)
    elif kind == ".json":
        text = to_json(session, tree, chosen)
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


def to_json(session: Session, tree: Sequence[Turn], chosen: Mapping[int, int], *, ascii_only: bool = False) -> str:
    """Return everything as indented JSON."""
    return json.dumps(to_dict(session, tree, chosen), ensure_ascii=ascii_only, indent=2) + "\n"


def to_dict(session: Session, tree: Sequence[Turn], chosen: Mapping[int, int]) -> dict[str, Any]:
    """Return the session and all its turns, branches too, as JSON values; ``chosen`` as ``Store.chosen`` has it."""
    return {
        "lmlab_session": FORMAT,
        "session": {**asdict(session), "created": session.created.isoformat(), "updated": session.updated.isoformat()},
        "turns": [_turn_to_dict(turn, chosen.get(turn.id)) for turn in tree],
    }


def _turn_to_dict(turn: Turn, chosen: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": turn.id,
        "parent": turn.parent,
        "role": turn.role,
        "content": turn.content,
        "created": turn.created.isoformat(),
    }
    if chosen is not None:
        values["chosen"] = chosen
    if turn.attachments:
        values["attachments"] = [asdict(file) for file in turn.attachments]
    if turn.prompt is not None:
        values["prompt"] = prompt_to_dict(turn.prompt)
    if turn.reply is not None:
        values["reply"] = reply_to_dict(turn.reply)
    return values
