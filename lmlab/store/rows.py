"""Rows to records and back. Knows nothing of connections or transactions."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from lmlab.errors import SamplingError, StoreError
from lmlab.sampling import SamplingParams
from lmlab.store.records import Attachment, Branch, Candidacy, Reply, Session, TemplateUse, Turn
from lmlab.worker.messages import Constraint, Timings, Usage
from lmlab.worker.prompts import Message

SESSION_COLUMNS = "id, title, created, updated, model, system, leaf"
TURN_COLUMNS = "id, session, parent, role, content, attachments, created, status, tokens, record, logprobs, prompt"


def session_from_row(row: tuple[Any, ...]) -> Session:
    name, title, created, updated, model, system, leaf = row
    return Session(name, title, datetime.fromisoformat(created), datetime.fromisoformat(updated), model, system, leaf)


def turn_from_row(row: tuple[Any, ...]) -> Turn:
    """Return the turn of ``row``. Raises StoreError for one that this lmlab cannot read."""
    name, session, parent, role, content, attachments, created, status, tokens, record, logprobs, prompt = row
    try:
        return Turn(
            id=name,
            session=session,
            parent=parent,
            content=content,
            created=datetime.fromisoformat(created),
            attachments=tuple(Attachment(**values) for values in json.loads(attachments)),
            reply=reply_from_columns(status, tokens, record, logprobs) if role == "assistant" else None,
            prompt=None if prompt is None else prompt_from_dict(json.loads(prompt)),
        )
    except (TypeError, ValueError, KeyError, struct.error, SamplingError) as error:
        raise StoreError(
            f"message {name} of session {session} cannot be read ({error}): a later lmlab wrote it, or it is damaged; "
            "nothing was changed"
        ) from None


def attachments_column(attachments: tuple[Attachment, ...]) -> str:
    return _dump([asdict(attachment) for attachment in attachments])


def prompt_column(prompt: TemplateUse | None) -> str | None:
    return None if prompt is None else _dump(prompt_to_dict(prompt))


def reply_columns(reply: Reply) -> tuple[str, bytes, str, bytes | None]:
    """Return ``(status, tokens, record, logprobs)``: 4 little-endian bytes a number, the rest JSON without what is
    None."""
    values = reply_to_dict(replace(reply, tokens=(), logprobs=None))
    del values["tokens"]
    status = values.pop("status")
    logprobs = None if reply.logprobs is None else struct.pack(f"<{len(reply.logprobs)}f", *reply.logprobs)
    return status, struct.pack(f"<{len(reply.tokens)}i", *reply.tokens), _dump(values), logprobs


def reply_from_columns(status: str, tokens: bytes | None, record: str | None, logprobs: bytes | None) -> Reply:
    ids = tokens or b""
    values = {
        **json.loads(record or "{}"),
        "status": status,
        "tokens": struct.unpack(f"<{len(ids) // 4}i", ids),
    }
    if logprobs is not None:
        values["logprobs"] = struct.unpack(f"<{len(logprobs) // 4}f", logprobs)
    return reply_from_dict(values)


def reply_to_dict(reply: Reply) -> dict[str, Any]:
    """Return the record as plain JSON values, without what is None."""
    values: dict[str, Any] = {}
    for field in fields(Reply):
        value = getattr(reply, field.name)
        if isinstance(value, SamplingParams):
            value = value.to_dict()
        elif isinstance(value, (Usage, Timings, Candidacy, Branch, Constraint)):
            value = asdict(value)
        elif field.name == "logprobs" and value is not None:
            value = [None if math.isnan(number) else number for number in value]
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
    if "branch" in values:
        values["branch"] = Branch(**values["branch"])
    if "constraint" in values:
        values["constraint"] = Constraint(**values["constraint"])
    if "logprobs" in values:
        values["logprobs"] = tuple(math.nan if number is None else float(number) for number in values["logprobs"])
    values["tokens"] = tuple(values.get("tokens", ()))
    values["changes"] = tuple(
        (at, name, _frozen(old), _frozen(new)) for at, name, old, new in values.get("changes", ())
    )
    return Reply(**values)


def prompt_to_dict(prompt: TemplateUse) -> dict[str, Any]:
    """Return the use of a template as plain JSON values."""
    return {
        "template": prompt.template,
        "fingerprint": prompt.fingerprint,
        "technique": prompt.technique,
        "shots": prompt.shots,
        "variables": dict(prompt.variables),
        "messages": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "stop": list(prompt.stop),
        "lead": prompt.lead,
        "sampling": prompt.sampling.to_dict(),
        "pick": prompt.pick,
        "pick_seed": prompt.pick_seed,
        "style": prompt.style,
    }


def prompt_from_dict(values: dict[str, Any]) -> TemplateUse:
    """The inverse of ``prompt_to_dict``."""
    return TemplateUse(
        **{
            **values,
            "messages": tuple(Message(message["role"], message["content"]) for message in values["messages"]),
            "stop": tuple(values["stop"]),
            "sampling": SamplingParams.from_dict(values["sampling"]),
        }
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
