"""Rows to records and back. Knows nothing of connections or transactions."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from lmlab.errors import SamplingError, StoreError
from lmlab.sampling import SamplingParams
from lmlab.store.records import Attachment, Candidacy, Reply, Session, Turn
from lmlab.worker.messages import Timings, Usage

SESSION_COLUMNS = "id, title, created, updated, model, system, leaf"
TURN_COLUMNS = "id, session, parent, role, content, attachments, created, status, tokens, record"


def session_from_row(row: tuple[Any, ...]) -> Session:
    name, title, created, updated, model, system, leaf = row
    return Session(name, title, datetime.fromisoformat(created), datetime.fromisoformat(updated), model, system, leaf)


def turn_from_row(row: tuple[Any, ...]) -> Turn:
    """Return the turn of ``row``. Raises StoreError for one that this lmlab cannot read."""
    name, session, parent, role, content, attachments, created, status, tokens, record = row
    try:
        return Turn(
            id=name,
            session=session,
            parent=parent,
            content=content,
            created=datetime.fromisoformat(created),
            attachments=tuple(Attachment(**values) for values in json.loads(attachments)),
            reply=reply_from_columns(status, tokens, record) if role == "assistant" else None,
        )
    except (TypeError, ValueError, KeyError, struct.error, SamplingError) as error:
        raise StoreError(
            f"message {name} of session {session} cannot be read ({error}): a later lmlab wrote it, or it is damaged; "
            "nothing was changed"
        ) from None


def attachments_column(attachments: tuple[Attachment, ...]) -> str:
    return _dump([asdict(attachment) for attachment in attachments])


def reply_columns(reply: Reply) -> tuple[str, bytes, str]:
    """Return ``(status, tokens, record)``: 4 little-endian bytes a token, the rest JSON without what is None."""
    values = reply_to_dict(reply)
    tokens = values.pop("tokens", [])
    status = values.pop("status")
    return status, struct.pack(f"<{len(tokens)}i", *tokens), _dump(values)


def reply_from_columns(status: str, tokens: bytes | None, record: str | None) -> Reply:
    blob = tokens or b""
    return reply_from_dict(
        {
            **json.loads(record or "{}"),
            "status": status,
            "tokens": struct.unpack(f"<{len(blob) // 4}i", blob),
        }
    )


def reply_to_dict(reply: Reply) -> dict[str, Any]:
    """Return the record as plain JSON values, without what is None."""
    values: dict[str, Any] = {}
    for field in fields(Reply):
        value = getattr(reply, field.name)
        if isinstance(value, SamplingParams):
            value = value.to_dict()
        elif isinstance(value, (Usage, Timings, Candidacy)):
            value = asdict(value)
        elif isinstance(value, tuple):
            value = [list(item) if isinstance(item, tuple) else item for item in value]
        if value is not None:
            values[field.name] = value
    return values


def reply_from_dict(values: dict[str, Any]) -> Reply:
    """The inverse of ``reply_to_dict``."""
    values = dict(values)
    for name in ("asked", "sampling"):
        if name in values:
            values[name] = SamplingParams.from_dict(values[name])
    if "usage" in values:
        values["usage"] = Usage(**values["usage"])
    if "timings" in values:
        values["timings"] = Timings(**values["timings"])
    if "candidate" in values:
        values["candidate"] = Candidacy(**values["candidate"])
    if "versions" in values:
        values["versions"] = tuple(values["versions"])
    values["tokens"] = tuple(values.get("tokens", ()))
    values["changes"] = tuple(
        (at, name, _frozen(old), _frozen(new)) for at, name, old, new in values.get("changes", ())
    )
    return Reply(**values)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
