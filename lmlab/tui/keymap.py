"""Which key runs which action: the defaults, and over them what the config says. Knows nothing of what actions do."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from textual.keys import KEY_NAME_REPLACEMENTS

from lmlab.errors import UsageError
from lmlab.terminal_text import one_line

_MODIFIERS = ("alt", "ctrl", "hyper", "meta", "shift", "super")
"""In the order in which Textual writes them."""

_OTHER_NAMES = {
    "esc": "escape",
    "return": "enter",
    "del": "delete",
    "ins": "insert",
    "pgup": "pageup",
    "pgdn": "pagedown",
    "control": "ctrl",
    "option": "alt",
    "cmd": "super",
}
_EDITING = frozenset(
    (
        "enter",
        "tab",
        "escape",
        "backspace",
        "delete",
        "home",
        "end",
        "pageup",
        "pagedown",
        "up",
        "down",
        "left",
        "right",
    )
)
_NAMED = _EDITING | {"space", "insert"} | {f"f{number}" for number in range(1, 25)}

# What a terminal cannot tell apart from another key, and what the input itself answers to.
_TAKEN = {
    "ctrl+m": "terminals send it for enter",
    "ctrl+i": "terminals send it for tab",
    "ctrl+h": "terminals send it for backspace",
    "ctrl+[": "terminals send it for escape",
    "ctrl+j": "it begins a new line",
    "shift+enter": "it begins a new line",
    "alt+enter": "it begins a new line",
    "ctrl+d": "it deletes, and quits when nothing is typed",
    "ctrl+z": "it undoes what was typed",
    "ctrl+y": "it undoes what was typed",
}
_EXAMPLES = "ctrl+t, alt+x, f5 or shift+f5"


@dataclass(frozen=True, slots=True)
class Action:
    """What a key does wherever one is. ``id`` names it in the config, ``key`` is its default, ``run`` its Textual action.

    ``title`` and ``help`` are for the palette and the help screen.
    """

    id: str
    key: str
    run: str
    title: str
    help: str


class Keymap:
    """``chosen`` are the config's keys by the id of an action.

    Raises UsageError, one line, for an unknown id, an unknown key, one that is needed for typing, and one key for two
    actions.
    """

    def __init__(self, actions: Sequence[Action], chosen: Mapping[str, Sequence[str]] | None = None) -> None:
        known: dict[str, tuple[str, ...]] = {action.id: (action.key,) for action in actions}
        for name, keys in (chosen or {}).items():
            if name not in known:
                raise UsageError(_unknown(name, list(known)))
            if not keys:
                raise UsageError(f"{name} has no key: give it one, such as {_EXAMPLES}, or leave the line out")
            known[name] = tuple(dict.fromkeys(_checked(name, key) for key in keys))
        self._keys = known
        self._refuse_clashes()

    def keys(self, action: str) -> tuple[str, ...]:
        """Return the keys of ``action``, as a person writes them."""
        return self._keys[action]

    def first(self, action: str) -> str:
        """Return the key of ``action`` that hints show."""
        return self._keys[action][0]

    def all(self, *actions: str) -> str:
        """Return all keys of ``actions`` as the help shows them."""
        return ", ".join(key for action in actions for key in self._keys[action])

    def for_textual(self) -> dict[str, str]:
        """Return what ``App.set_keymap`` takes."""
        return {
            name: ",".join(textual for key in keys for textual in textual_names(key))
            for name, keys in self._keys.items()
        }

    def _refuse_clashes(self) -> None:
        owner: dict[str, str] = {}
        for name, keys in self._keys.items():
            for key in keys:
                if key in owner:
                    raise UsageError(f"{key} is the key of both {owner[key]} and {name}: give one of them another")
                owner[key] = name


def _checked(action: str, text: str) -> str:
    """Return the key in its one spelling: lower case, modifiers in order. Raises UsageError for one that cannot be."""
    # A plus is also what stands between the parts.
    *modifiers, base = text.strip().lower().replace("++", "+\0").split("+")
    modifiers = [_OTHER_NAMES.get(name, name) for name in modifiers]
    base = _OTHER_NAMES.get(base, base).replace("\0", "+")
    single = len(base) == 1 and base.isprintable() and base.isascii() and base != " "
    if not (single or base in _NAMED) or not set(modifiers) <= set(_MODIFIERS):
        raise UsageError(f"{action}: no key is called {one_line(text, 40)!r}: write it as {_EXAMPLES}")
    key = "+".join([*(name for name in _MODIFIERS if name in modifiers), base])
    reason = _TAKEN.get(key)
    if set(modifiers) <= {"shift"}:
        if single or base == "space":
            reason = "it types a character"
        elif base in _EDITING:
            reason = reason or "writing and moving about need it"
    if reason is not None:
        raise UsageError(f"{action} cannot have the key {key}, {reason}: choose another, such as {_EXAMPLES}")
    return key


def textual_names(key: str) -> tuple[str, ...]:
    """Return what Textual calls ``key``, the most usual first; nothing for what is no single key."""
    if key == "ctrl+space":
        # The first is what most terminals send for it.
        return ("ctrl+@", "ctrl+space")
    head, plus, base = key.rpartition("+") if not key.endswith("+") else (key[:-2], key[-2:-1], "+")
    base = _OTHER_NAMES.get(base, base)
    if not set(filter(None, head.split("+"))) <= set(_MODIFIERS) or (len(base) > 1 and base not in _NAMED):
        return ()
    if len(base) == 1 and not base.isalnum():
        name = unicodedata.name(base).lower().replace("-", "_").replace(" ", "_")
        base = KEY_NAME_REPLACEMENTS.get(name, name)
    return (f"{head}{plus}{base}",)


def _unknown(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no action is called {one_line(name, 40)!r}: {hint}there are {', '.join(known)}"
