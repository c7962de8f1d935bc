"""Which keys do what: the actions that have one everywhere, the hints for what works now, and the whole list for the
help screen. Knows no widgets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lmlab.tui.keymap import Action, Keymap

ACTIONS: tuple[Action, ...] = (
    Action("regenerate", "ctrl+r", "regenerate", "Regenerate", "Another reply to the last message"),
    Action("tokens", "ctrl+t", "view('tokens')", "Tokens", "What the model weighed at each token of a reply"),
    Action("candidates", "f4", "view('candidates')", "Candidates", "The replies to a message side by side"),
    Action("tree", "f3", "view('tree')", "Tree", "All branches of the conversation; go on from any, edit, prune"),
    Action("prompt", "f2", "view('prompt')", "Prompt", "Template, technique, shots; the exact text the model gets"),
    Action("sessions", "ctrl+o", "view('sessions')", "Sessions", "All conversations: search, open, rename, export"),
    Action("new-session", "ctrl+l", "slash('/clear')", "New session", "The one there is kept"),
    Action("editor", "ctrl+g", "edit", "Write in the editor", "In $VISUAL or $EDITOR"),
    Action("palette", "ctrl+p", "command_palette", "Palette", "All commands, to be found by name"),
    Action("help", "f1", "help", "Help", "All keys and commands; in the sampling panel also ?"),
    Action("follow", "ctrl+end", "follow", "Follow", "To the end of the conversation, and on with it"),
    Action("interrupt", "ctrl+c", "interrupt", "Interrupt", "Copy what is selected, else stop the reply; twice: quit"),
    Action("quit", "ctrl+q", "leave", "Quit", "Leave; the session is kept"),
)
"""What the config may give other keys, by their ids."""


@dataclass(frozen=True, slots=True)
class Hint:
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a person is: which part has the keys, and what is going on."""

    in_panel: bool = False
    typing_value: bool = False
    completing: bool = False
    selected: bool = False
    replying: bool = False
    following: bool = True
    can_regenerate: bool = False
    candidates: bool = False
    editing: bool = False
    has_text: bool = False


Section: TypeAlias = tuple[str, tuple[Hint, ...]]


def keymap(chosen: Mapping[str, Sequence[str]] | None = None) -> Keymap:
    """Return the keys of ACTIONS with those of the config over them. Raises UsageError as Keymap does."""
    return Keymap(ACTIONS, chosen)


def hints(now: Situation, keys: Keymap) -> list[Hint]:
    """Return what works now, the most useful first."""
    if now.typing_value:
        return [Hint("enter", "set"), Hint("esc", "abandon")]
    found = []
    if now.selected:
        found.append(Hint(keys.first("interrupt"), "copy"))
    if now.replying and not now.completing:
        found.append(Hint("esc", "stop"))
    if not now.following:
        found.append(Hint("end" if not now.in_panel else keys.first("follow"), "follow"))
    if now.in_panel:
        return [
            *found,
            Hint("↑↓", "choose"),
            Hint("←→", "change"),
            Hint("0-9", "type"),
            Hint("⌫", "unset"),
            Hint("u", "undo"),
            Hint("tab" if now.replying else "tab/esc", "back"),
        ]
    if now.completing:
        return [*found, Hint("tab", "complete"), Hint("↑↓", "choose"), Hint("esc", "close"), Hint("enter", "run")]
    if not now.replying:
        found.append(Hint("enter", "send"))
        if now.editing:
            found.append(Hint("esc", "give up the edit"))
    found.append(Hint("tab", "sampling"))
    if now.can_regenerate:
        if not now.replying:
            found.append(Hint(keys.first("regenerate"), "again"))
        if now.candidates:
            found.append(Hint(keys.first("candidates"), "candidates"))
        found.append(Hint(keys.first("tokens"), "tokens"))
    found += [Hint(keys.first("help"), "help"), Hint("ctrl+j", "new line")]
    found += [Hint(keys.first(name), name) for name in ("sessions", "palette", "editor")]
    if not now.has_text and not now.replying:
        found.append(Hint("ctrl+d", "quit"))
    return found


def help_sections(keys: Keymap) -> tuple[Section, ...]:
    """Return every key with what it does, under headings."""

    def of(*names: str) -> list[Hint]:
        found = (action for action in ACTIONS if action.id in names)
        return [
            Hint(keys.all(action.id), f"{action.title.lower()}: {action.help[0].lower()}{action.help[1:]}")
            for action in found
        ]

    return (
        (
            "Writing",
            (
                Hint("enter", "send; a line that begins with / is a command"),
                Hint("ctrl+j", "new line; also shift+enter, where the terminal tells it from enter"),
                Hint("↑ ↓", "at the first and last line: what was typed before"),
                Hint("tab", "complete a command; else go to the sampling panel"),
                *of("editor"),
                Hint("ctrl+z, ctrl+y", "undo, redo"),
            ),
        ),
        (
            "Replies",
            (
                Hint("esc", "stop the reply, also from the sampling panel"),
                *of("regenerate"),
                Hint("page up, page down", "scroll; ctrl+home for the beginning"),
                Hint("end", "follow the end again"),
                Hint("mouse", f"select text, then {keys.first('interrupt')} copies it"),
            ),
        ),
        (
            "Views",
            (
                *of("tokens", "candidates", "tree", "prompt", "sessions"),
                Hint("esc", "back to the chat; so does the key that opened the view"),
            ),
        ),
        (
            "Sampling",
            (
                Hint("↑ ↓", "choose a parameter"),
                Hint("← →", "one step down or up; with shift ten"),
                Hint("0-9 . -", "type a value: enter sets, esc abandons"),
                Hint("backspace", "unset: the model's value, or the default"),
                Hint("u", "undo the last change"),
                Hint("tab, esc", "back to the input; while a reply comes, esc stops it first"),
                *of("follow"),
                Hint("mouse", "click or wheel on a bar"),
            ),
        ),
        (
            "lmlab",
            (
                *of("palette", "new-session", "help", "interrupt", "quit"),
                Hint("ctrl+d", "quit when nothing is typed"),
            ),
        ),
        (
            "Other keys",
            (
                Hint("[keys]", "this table of the config file gives an action other keys, for example"),
                Hint("", 'tokens = "f5"   or   quit = ["ctrl+q", "alt+q"]'),
                Hint("", f"its actions: {', '.join(action.id for action in ACTIONS)}"),
            ),
        ),
    )
