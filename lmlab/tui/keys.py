"""Which keys do what: the hints for what works now, and the whole list for the help screen. Knows no widgets."""

from __future__ import annotations

from dataclasses import dataclass


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
    has_text: bool = False


def hints(now: Situation) -> list[Hint]:
    """Return what works now, the most useful first."""
    if now.typing_value:
        return [Hint("enter", "set"), Hint("esc", "abandon")]
    found = []
    if now.selected:
        found.append(Hint("ctrl+c", "copy"))
    if now.replying and not now.completing:
        found.append(Hint("esc", "stop"))
    if not now.following:
        found.append(Hint("end" if not now.in_panel else "ctrl+end", "follow"))
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
    found += [Hint("ctrl+j", "new line"), Hint("tab", "sampling")]
    if now.can_regenerate and not now.replying:
        found.append(Hint("ctrl+r", "again"))
    found += [Hint("f1", "help"), Hint("ctrl+p", "palette"), Hint("ctrl+g", "editor")]
    if not now.has_text and not now.replying:
        found.append(Hint("ctrl+d", "quit"))
    return found


HELP: tuple[tuple[str, tuple[Hint, ...]], ...] = (
    (
        "Writing",
        (
            Hint("enter", "send; a line that begins with / is a command"),
            Hint("ctrl+j", "new line; also shift+enter, where the terminal tells it from enter"),
            Hint("↑ ↓", "at the first and last line: what was typed before"),
            Hint("tab", "complete a command; else go to the sampling panel"),
            Hint("ctrl+g", "write in $VISUAL or $EDITOR"),
            Hint("ctrl+z, ctrl+y", "undo, redo"),
        ),
    ),
    (
        "Replies",
        (
            Hint("esc", "stop the reply, also from the sampling panel"),
            Hint("ctrl+r", "regenerate the last reply"),
            Hint("page up, page down", "scroll; ctrl+home for the beginning"),
            Hint("end", "follow the end again"),
            Hint("mouse", "select text, then ctrl+c copies it"),
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
            Hint("mouse", "click or wheel on a bar"),
        ),
    ),
    (
        "lmlab",
        (
            Hint("ctrl+p", "all commands"),
            Hint("ctrl+l", "a new session"),
            Hint("f1", "this page; in the sampling panel also ?"),
            Hint("ctrl+c", "copy what is selected, else stop the reply; twice: quit"),
            Hint("ctrl+d, ctrl+q", "quit; ctrl+d when nothing is typed"),
        ),
    ),
)
