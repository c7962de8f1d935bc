"""What keys do inside each view, for the help. Knows no view: each says by itself which of them work at the moment."""

from __future__ import annotations

from lmlab.tui.keys import Hint, Section

_SECTIONS: dict[str, Section] = {
    "tokens": (
        "In tokens",
        (
            Hint("← → ↑ ↓", "move over the tokens; home, end, page up and page down too"),
            Hint("n, N", "the next, the previous token that the model found unlikely"),
            Hint("< >", "the reply before, the reply after"),
            Hint("tab", "to the candidates, to the sliders, and back to the text"),
            Hint("enter", "take the candidate you are on in place of the drawn token: the reply branches there"),
            Hint("[ ]", "the stage of the sampler that is shown"),
            Hint("t k p m", "slide temperature, top-k, top-p or min-p: ← → or a number; backspace as it was"),
            Hint("s, u", "have the chat draw as the sliders stand; undo them"),
            Hint("mouse", "click a token, a stage or a candidate; twice branches; drag a slider"),
        ),
    ),
    "candidates": (
        "In candidates",
        (
            Hint("← →, 1-9", "choose a reply"),
            Hint("↑ ↓", "scroll it; page up and page down too"),
            Hint("enter", "go on from it; a click on its title too"),
        ),
    ),
    "tree": (
        "In the tree",
        (
            Hint("↑ ↓", "walk; ← and → go to the branch beside"),
            Hint("enter", "go on from this message"),
            Hint("e, f", "edit a message of yours; have your next message follow a reply"),
            Hint("d, u", "prune the message and all below it; undo"),
        ),
    ),
    "prompt": (
        "In the prompt view",
        (
            Hint("a-z", "find a template by its name; ↑ and ↓ choose"),
            Hint("tab", "to technique, examples and inputs, to the text, and back; ← and → change a row"),
            Hint("enter", "keep the choice for your next message"),
        ),
    ),
    "sessions": (
        "In sessions",
        (
            Hint("/", "search titles and messages"),
            Hint("enter, n", "open the session; begin a new one"),
            Hint("r, e, i", "rename, export, import"),
            Hint("d, u", "remove; undo, until you leave the view"),
        ),
    ),
}


def view_sections(first: str | None) -> tuple[Section, ...]:
    """Return what keys do in each view, those of the view ``first`` before the others."""
    return tuple(section for _, section in sorted(_SECTIONS.items(), key=lambda item: item[0] != first))
