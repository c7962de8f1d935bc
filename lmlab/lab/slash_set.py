"""``/set``: sampling parameters by name, and the table of what is in force. Knows nothing of screens."""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from typing import Any

from lmlab.errors import SamplingError
from lmlab.lab.chat import Chat
from lmlab.lab.sampling_words import format_value, hyphened
from lmlab.sampling import BY_NAME, ineffective

# What other tools call them.
ALIASES = {
    "temp": "temperature",
    "n": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "repeat_window": "repeat_last_n",
}
NAMES = (*BY_NAME, "stop")

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_ORIGINS = {"set": "set", "model": "from the model", "default": "default"}


def run(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/set``, ``/set NAME``, ``/set NAME VALUE``, ``/set NAME unset``; return what to show."""
    if not rest:
        return tuple(describe(chat, name) for name in NAMES)
    # ``temperature 0.2`` and ``temperature=0.2``
    first, *values = re.split(r"[\s=]+", rest, maxsplit=1)
    name, value = parameter_name(first), "".join(values)
    if value:
        chat.set_sampling(name, None if value.lower() == "unset" else parse_value(name, value))
    return (describe(chat, name),)


def parameter_name(text: str) -> str:
    """Return the parameter that ``text`` means. Raises SamplingError that suggests near ones."""
    name = text.lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name in NAMES:
        return name
    near = get_close_matches(name, (*NAMES, *ALIASES), n=1)
    shown = [hyphened(ALIASES.get(other, other)) for other in near or NAMES]
    hint = f"did you mean {shown[0]}?" if near else f"there are {', '.join(shown)}"
    raise SamplingError(f"no sampling parameter is called {text!r}: {hint}")


def parse_value(name: str, text: str) -> Any:
    """Return the value that ``text`` spells. Stop texts are separated by spaces, quoted as in a shell, with \\n and \\t."""
    if name != "stop":
        return BY_NAME[name].parse(text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return tuple(_unescaped(word) for word in lexer)
    except ValueError:
        raise SamplingError('stop: a quote is not closed: write /set stop "one text" "another"') from None


def describe(chat: Chat, name: str) -> str:
    """Return one line: name, value in force, where it comes from and why it may have no effect."""
    in_force = chat.in_force
    reason = ineffective(in_force).get(name)
    origin = _ORIGINS[chat.origin(name)]
    note = f"{origin}; {reason}" if reason else origin
    return f"{hyphened(name):<18} {format_value(name, in_force):<10} {note}"


def _unescaped(text: str) -> str:
    parts = iter(text)
    return "".join(
        _ESCAPES.get(following := next(parts, ""), "\\" + following) if part == "\\" else part for part in parts
    )
