"""``/preset``: named ways to draw tokens. Knows nothing of screens."""

from __future__ import annotations

from lmlab.errors import UsageError
from lmlab.lab.chat import Chat
from lmlab.lab.chat_presets import in_words

WITH_NAME = ("save", "remove")
WORDS = (*WITH_NAME, "undo")


def run(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/preset``, ``/preset NAME``, ``save NAME``, ``remove NAME``, ``undo``; return what to show."""
    word, _, name = rest.partition(" ")
    word, name = word.lower(), name.strip()
    if not rest:
        return _listed(chat)
    if word == "undo" and not name:
        return (chat.presets.undo(),)
    if word in WITH_NAME:
        if not name:
            raise UsageError(f"/preset {word} needs a name: /preset {word} mine")
        return _saved(chat, name) if word == "save" else _removed(chat, name)
    preset = chat.presets.choose(rest)
    return (f"{preset.name}: {in_words(preset.sampling)}",)


def _listed(chat: Chat) -> tuple[str, ...]:
    chat.presets.read_again()
    current = chat.preset
    known = chat.presets.known
    width = max(len(preset.name) for preset in known)
    lines = [
        f"{'›' if preset.name == current else ' '} {preset.name:<{width}}  {in_words(preset.sampling)} ({preset.about})"
        for preset in known
    ]
    if current is None:
        lines.append(f"  now, like none of them: {in_words(chat.in_force)}; /preset save NAME keeps it")
    return tuple(lines)


def _saved(chat: Chat, name: str) -> tuple[str, ...]:
    preset = chat.presets.save(name)
    return (f"saved {preset.name}: {in_words(preset.sampling)}; /preset undo takes it back",)


def _removed(chat: Chat, name: str) -> tuple[str, ...]:
    preset = chat.presets.remove(name)
    return (f"removed {preset.name}: {in_words(preset.sampling)}; /preset undo brings it back",)
