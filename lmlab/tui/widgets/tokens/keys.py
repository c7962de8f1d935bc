"""Which key does what in the tokens view, by the part that has the keys, and what is said of it in the bottom line."""

from __future__ import annotations

from lmlab.tui.keys import Hint
from lmlab.tui.widgets.tokens.knobs import KNOBS
from lmlab.tui.widgets.tokens.state import Part, TokensState

_ALL = 10**9
_TYPED = frozenset("0123456789.")

_EVERYWHERE = {
    "tab": "step_part(1)",
    "shift+tab": "step_part(-1)",
    "[": "step_stage(-1)",
    "]": "step_stage(1)",
    "<": "step_reply(-1)",
    ">": "step_reply(1)",
    "n": "surprise(1)",
    "N": "surprise(-1)",
    "s": "take",
    "u": "unbend",
    "escape": "back",
    **{key: f"knob({name!r})" for key, name in KNOBS.items()},
}
_BY_PART: dict[Part, dict[str, str]] = {
    "text": {
        "left": "move(-1)",
        "right": "move(1)",
        "up": "move_lines(-1)",
        "down": "move_lines(1)",
        "pageup": "move_pages(-1)",
        "pagedown": "move_pages(1)",
        "home": "move_to(0)",
        "end": "follow",
        "enter": "step_part(1)",
    },
    "weighed": {
        "up": "step_row(-1)",
        "down": "step_row(1)",
        "pageup": "page_rows(-1)",
        "pagedown": "page_rows(1)",
        "home": f"step_row({-_ALL})",
        "end": f"step_row({_ALL})",
        "left": "move(-1)",
        "right": "move(1)",
        "enter": "branch",
    },
    "knobs": {
        "up": "step_knob(-1)",
        "down": "step_knob(1)",
        "left": "nudge(-1)",
        "right": "nudge(1)",
        "shift+left": "nudge(-5)",
        "shift+right": "nudge(5)",
        "backspace": "erase",
        "delete": "erase",
        "enter": "set",
    },
}


def action(part: Part, key: str, character: str | None) -> str | None:
    """Return the action of a key, by its name or, where it prints something, by that; None when it has none here."""
    found = _BY_PART[part].get(key) or _EVERYWHERE.get(key)
    if found is None and character is not None:
        found = _EVERYWHERE.get(character)
        if found is None and part == "knobs" and character in _TYPED:
            found = f"type({character!r})"
    return found


def hints(state: TokensState) -> list[Hint]:
    """Return what keys do now, the most useful first."""
    if state.typed is not None:
        return [Hint("enter", "set")]
    stages, turn, moves = Hint("[ ]", "stage"), Hint("tkpm", "sliders"), Hint("←→", "token")
    bent = [Hint("s", "to chat"), Hint("u", "undo")] if state.knobs.changed else []
    replies = [Hint("< >", "reply")] if len(state.reading.replies) > 1 else []
    match state.part:
        case "text":
            first = [Hint("←→↑↓", "token"), Hint("n", "surprise"), Hint("tab", "candidates")]
            return [*first, *(bent or [turn, *replies])]
        case "weighed":
            first = [Hint("↑↓", "candidate"), Hint("enter", "branch"), stages]
            return [*first, *(bent or [moves, turn])]
        case "knobs":
            first = [Hint("←→", "turn"), Hint("0-9", "type"), Hint("↑↓", "slider"), Hint("⌫", "as it was")]
            return [*first, *(bent or [Hint("tab", "tokens")])]
