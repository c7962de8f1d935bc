"""``/grammar`` and ``/schema``: what replies must look like. Knows nothing of screens."""

from __future__ import annotations

from lmlab.lab.chat import Chat
from lmlab.lab.constraints import read_grammar, read_schema
from lmlab.lab.slash_command import Command, SlashResult
from lmlab.terminal_text import one_line

_SHOWN = 60
_FREE = "replies may look like anything: /grammar FILE or /schema FILE constrains them"


def _grammar(chat: Chat, rest: str) -> SlashResult:
    if rest and rest != "-":
        chat.constraint = read_grammar("/grammar", rest)
    return _told(chat, rest)


def _schema(chat: Chat, rest: str) -> SlashResult:
    if rest and rest != "-":
        chat.constraint = read_schema("/schema", rest)
    return _told(chat, rest)


def _told(chat: Chat, rest: str) -> SlashResult:
    if rest == "-":
        chat.constraint = None
    held = chat.constraint
    if held is None:
        return SlashResult((_FREE,))
    what = "follow the grammar" if held.kind == "gbnf" else "are JSON that fits the schema"
    return SlashResult((f"from the next on, replies {what}: {one_line(held.text, _SHOWN)}",))


COMMANDS = (
    Command(
        ("grammar",),
        "[FILE | -]",
        "Have replies follow a GBNF grammar, or anything again (-).",
        "/grammar yes-or-no.gbnf",
        _grammar,
    ),
    Command(
        ("schema", "json-schema"),
        "[FILE | {...} | -]",
        "Have replies be JSON that fits a JSON Schema, or anything again (-).",
        '/schema {"type": "object"}',
        _schema,
    ),
)
