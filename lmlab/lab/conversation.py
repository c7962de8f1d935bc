"""Turns to the messages a model sees, and the sampling they ended with. Knows nothing of templates, stores on disk or
replies under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import lmlab.errors
from lmlab.backends import Message
from lmlab.errors import PromptError
from lmlab.sampling import SamplingParams
from lmlab.store import Attachment, Turn


def compose(text: str, attachments: Sequence[Attachment]) -> str:
    """Return the message as the model sees it: each file's name and text, then what was typed.

    ::

        --- File: notes.txt ---
        the text of the file
        --- End of notes.txt ---

        what was typed
    """
    files = [
        f"--- File: {file.name} ---\n{file.text.removesuffix(chr(10))}\n--- End of {file.name} ---"
        for file in attachments
    ]
    return "\n\n".join([*files, text] if text else files)


def refused(turn: Turn) -> bool:
    """Whether ``turn`` is a reply that never began because its question could not be sent: too long, for example."""
    if turn.reply is None or turn.content or turn.reply.error_type is None:
        return False
    kind = getattr(lmlab.errors, turn.reply.error_type, None)
    return isinstance(kind, type) and issubclass(kind, PromptError)


def last_asked(turns: Sequence[Turn]) -> SamplingParams | None:
    """Return what a person had set when the last reply of ``turns`` ended; None when there is no reply."""
    reply = next((turn.reply for turn in reversed(turns) if turn.reply is not None), None)
    if reply is None:
        return None
    asked = reply.asked
    for _, name, _, new in reply.changes:
        # What ends a turn of a base model's transcript was changed along with the person's own stop texts.
        if name != "stop":
            asked = asked.with_value(name, new)
    return asked


def messages(turns: Sequence[Turn], system: str | None, fingerprint: str | None) -> tuple[Message, ...]:
    """Return what the model sees of ``turns``, the first message to the question to answer.

    - A reply's token ids go along when the model of ``fingerprint`` made them and ended in good order; after a crash
      the ids may say more than the text does.
    - A reply without text is left out, and a question that was refused with it: sent again, it would be refused again.
    - A message that went through a prompt template is what that made of it and its files. Its system message, which
      chat templates take at the beginning alone, is the user's anywhere else.
    - Neighbours of one role become one message with a blank line between: most templates demand that roles alternate.
    """
    said: list[Message] = []
    if system:
        said.append(Message("system", system))
    for turn, following in zip(turns, (*turns[1:], None), strict=False):
        if following is not None and turn.reply is None and refused(following):
            continue
        content = compose(turn.content, turn.attachments)
        if turn.reply is not None and not content:
            continue
        if turn.prompt is None:
            _add(said, Message(turn.role, content, _own_tokens(turn, fingerprint)))
            continue
        beginning = all(one.role == "system" for one in said)
        for message in turn.prompt.messages:
            _add(said, message if beginning or message.role != "system" else replace(message, role="user"))
    return tuple(said)


def _add(said: list[Message], message: Message) -> None:
    if said and said[-1].role == message.role:
        said[-1] = Message(message.role, f"{said[-1].content}\n\n{message.content}")
    else:
        said.append(message)


def _own_tokens(turn: Turn, fingerprint: str | None) -> tuple[int, ...] | None:
    reply = turn.reply
    if reply is None or fingerprint is None or reply.fingerprint != fingerprint:
        return None
    whole = reply.status == "done" and reply.finish_reason != "error"
    return reply.tokens if whole and reply.tokens else None
