"""Completion of slash commands as they are typed. Knows nothing of screens or keys."""

from __future__ import annotations

import os
from collections.abc import Iterable

from lmlab.errors import UsageError
from lmlab.lab import slash_preset, slash_set, slash_template
from lmlab.lab.chat import Chat
from lmlab.lab.slash import BY_NAME, COMMANDS
from lmlab.lab.slash_best_of import OFF
from lmlab.settings import expanded

SELECTORS = ("logprob", "vote", "judge", "judge:", "reward:", "regex:", "command:")
WITH_MODEL = ("judge", "reward")
FILE_COMMANDS = ("read", "save", "grammar", "schema")
_CHOICES = {"technique": slash_template.TECHNIQUES, "pick": slash_template.PICKS, "style": slash_template.STYLES}


def complete(line: str, models: Iterable[str] = (), chat: Chat | None = None) -> list[str]:
    """Return what ``line`` may become, whole lines, in the order to offer them; nothing when it is no command.

    ``models`` are references to offer after ``/model``, and to choose among candidates; ``chat`` knows presets and templates.
    """
    if not line.startswith("/") or line.startswith("//") or "\n" in line:
        return []
    name, space, rest = line[1:].partition(" ")
    if not space:
        matching = [command for command in COMMANDS if any(alias.startswith(name.lower()) for alias in command.names)]
        return [f"/{_named(command.names, name.lower())}{' ' if command.arguments else ''}" for command in matching]
    command = BY_NAME.get(name.lower())
    if command is None:
        return []
    head = f"/{name} "
    match command.names[0]:
        case "set" if " " not in rest:
            wanted = rest.lower().replace("_", "-")
            names = [known.replace("_", "-") for known in slash_set.NAMES]
            return [f"{head}{known} " for known in names if known.startswith(wanted)]
        case "select":
            return [head + choice for choice in _selectors(rest, models)]
        case "best-of":
            return [head + choice for choice in ("3", "5", "8", OFF) if choice.startswith(rest)]
        case "preset" if chat is not None:
            return [head + choice for choice in _presets(rest, chat)]
        case "template" if chat is not None:
            return [head + choice for choice in (*chat.prompts.names(), "-") if choice.startswith(rest)]
        case kind if kind in _CHOICES:
            return [head + choice for choice in _CHOICES[kind] if choice.startswith(rest)]
        case "var" if chat is not None and chat.prompts.current is not None and " " not in rest:
            inputs = chat.prompts.current.renderer.template.inputs
            return [f"{head}{name} " for name in inputs if name.startswith(rest)]
        case "help":
            return [f"{head}{other.names[0]}" for other in COMMANDS if other.names[0].startswith(rest.lstrip("/"))]
        case "model":
            return [f"{head}{ref}" for ref in models if ref.startswith(rest)]
        case kind if kind in FILE_COMMANDS:
            return [head + path for path in _paths(rest)]
        case _:
            return []


def _selectors(prefix: str, models: Iterable[str]) -> list[str]:
    kind, colon, _ = prefix.partition(":")
    if colon:
        return [f"{kind}:{ref}" for ref in models if f"{kind}:{ref}".startswith(prefix)] if kind in WITH_MODEL else []
    return [choice for choice in SELECTORS if choice.startswith(prefix)]


def _presets(prefix: str, chat: Chat) -> list[str]:
    word, space, _ = prefix.partition(" ")
    if space:
        own = (f"{word} {preset.name}" for preset in chat.presets.known if preset.own)
        return [choice for choice in own if choice.startswith(prefix)] if word in slash_preset.WITH_NAME else []
    words = (*(preset.name for preset in chat.presets.known), *slash_preset.WORDS)
    return [f"{one} " if one in slash_preset.WITH_NAME else one for one in words if one.startswith(prefix)]


def _named(names: tuple[str, ...], prefix: str) -> str:
    return next(name for name in names if name.startswith(prefix))


def _paths(prefix: str) -> list[str]:
    """Return the paths that begin with ``prefix``, folders with a separator at the end; hidden ones when asked for."""
    start = prefix[max(prefix.rfind("/"), prefix.rfind(os.sep)) + 1 :]
    lead = prefix[: len(prefix) - len(start)]
    try:
        entries = sorted(expanded(lead or ".").iterdir())
        return [
            f"{lead}{entry.name}{'/' if entry.is_dir() else ''}"
            for entry in entries
            if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
        ]
    except (OSError, UsageError):
        return []
