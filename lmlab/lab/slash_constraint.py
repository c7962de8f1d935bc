"""``/grammar`` and ``/schema``: what replies must look like. Knows nothing of screens."""

from __future__ import annotations

from lmlab.backends import Constraint
from lmlab.lab.chat import Chat
from lmlab.lab.constraints import called, read_grammar, read_schema
from lmlab.lab.slash_command import Command, SlashResult, unquoted
from lmlab.terminal_text import one_line

_SHOWN = 60
_FREE = "replies may look like anything: /grammar FILE or /schema FILE constrains them"


def _grammar(chat: Chat, rest: str) -> SlashResult:
    if rest and rest != "-":
        chat.constraint = read_grammar("/grammar", unquoted(rest), at_once=True)
    return _told(chat, rest)


def _schema(chat: Chat, rest: str) -> SlashResult:
    if rest and rest != "-":
        chat.constraint = read_schema("/schema", unquoted(rest), at_once=True)
    return _told(chat, rest)


def _told(chat: Chat, rest: str) -> SlashResult:
    if rest == "-":
        chat.constraint = None
    held = chat.constraint
    if held is None:
        return SlashResult((_FREE,))
    return SlashResult((f"from the next on, replies {_what(held)}: {one_line(held.text, _SHOWN)}",))


def _what(held: Constraint) -> str:
    return "follow the grammar" if held.kind == "gbnf" else "are JSON that fits the schema"


def staying(held: Constraint) -> str:
    """Return what stays in force when a session ends, in words."""
    return f"replies still {_what(held)}; /{called(held)} - lifts that"


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
