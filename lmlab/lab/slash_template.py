"""``/template``, ``/technique``, ``/shots``, ``/pick``, ``/style`` and ``/var``: what the next messages go through.

Knows nothing of screens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from lmlab.errors import UsageError
from lmlab.lab.chat import Chat
from lmlab.lab.slash_command import unquoted
from lmlab.lab.variant import Technique
from lmlab.terminal_text import one_line

if TYPE_CHECKING:
    from lmlab.lab.message_prompt import MessagePrompt

TECHNIQUES: tuple[str, ...] = get_args(Technique)
PICKS = ("order", "random", "nearest")
STYLES = ("turns", "inline")
NONE = "-"
_VALUE = 60


def template(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/template``, ``/template NAME``, ``/template -``; return what to show."""
    if rest == NONE:
        chat.set_template(None)
    elif rest:
        chat.set_template(unquoted(rest))
    current = chat.prompts.current
    if current is not None:
        return describe(current)
    if rest == NONE:
        return ("the next message is sent as you type it",)
    return (
        "no template is in use: the next message is sent as you type it",
        f"there are {', '.join(chat.prompts.names())}",
        "/template NAME puts the next messages through one, /template - through none again",
    )


def technique(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/technique``, ``/technique T``; return what to show."""
    if rest:
        chat.prompts.put(technique=_one_of("technique", rest.lower(), TECHNIQUES))
    return _state(chat, f"there are {', '.join(TECHNIQUES)}" if not rest else "")


def shots(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/shots``, ``/shots K``, ``/shots -``; return what to show."""
    if rest and rest != NONE and not rest.isdecimal():
        raise UsageError(f"/shots {rest}: give a whole number, or {NONE} for as many as the template has it")
    if rest:
        chat.prompts.put(shots=None if rest == NONE else int(rest))
    return _state(chat)


def pick(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/pick``, ``/pick order``, ``/pick random:7``, ``/pick nearest``; return what to show."""
    if rest:
        word, colon, seed = rest.lower().partition(":")
        if colon and (word != "random" or not seed.isdecimal()):
            raise UsageError(f"/pick {rest}: only random takes a seed, a whole number: /pick random:7")
        chat.prompts.put(pick=_one_of("pick", word, PICKS), pick_seed=int(seed) if seed else 0)
    return _state(chat, f"there are {', '.join(PICKS)}; random:7 is random with the seed 7" if not rest else "")


def style(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/style``, ``/style S``; return what to show."""
    if rest:
        chat.prompts.put(style=_one_of("style", rest.lower(), STYLES))
    return _state(chat, f"there are {', '.join(STYLES)}" if not rest else "")


def var(chat: Chat, rest: str) -> tuple[str, ...]:
    """``/var``, ``/var NAME``, ``/var NAME TEXT``, ``/var NAME -``; return what to show."""
    name, _, value = rest.partition(" ")
    value = value.strip()
    if value:
        chat.prompts.set_variable(name, None if value == NONE else value)
    return describe(chat.prompts.chosen())


def describe(prompt: MessagePrompt) -> tuple[str, ...]:
    """Return the lines that say which template it is, how it is put, and what its inputs are."""
    lines = [f"{summary(prompt)}: {prompt.renderer.template.description}"]
    inputs = prompt.renderer.template.inputs
    width = max(len(name) for name in inputs)
    for name, given in inputs.items():
        if name == prompt.main:
            value = "your message"
        elif name in prompt.renderer.fixed:
            value = one_line(prompt.renderer.fixed[name], _VALUE)
        elif given.required:
            value = f"missing: /var {name} TEXT gives it"
        else:
            value = f"{one_line(given.default, _VALUE) or 'nothing'} (/var {name} TEXT changes it)"
        lines.append(f"  {name:<{width}}  {value}")
    return tuple(lines)


def summary(prompt: MessagePrompt) -> str:
    """Return a template and how it is put, in a few words: ``word-problem, few-shot-cot, 4 examples, random:7``."""
    renderer, approach = prompt.renderer, prompt.approach
    parts = [renderer.template.name, renderer.technique]
    if renderer.shots:
        parts.append("1 example" if renderer.shots == 1 else f"{renderer.shots} examples")
        if approach.pick != "order":
            parts.append(approach.pick + (f":{approach.pick_seed}" if approach.pick == "random" else ""))
        if (approach.style or renderer.template.style) == "inline":
            parts.append("inline")
    return ", ".join(parts)


def _state(chat: Chat, choices: str = "") -> tuple[str, ...]:
    return tuple(line for line in (summary(chat.prompts.chosen()), choices) if line)


def _one_of(name: str, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise UsageError(f"/{name} {word}: there are {', '.join(words)}")
    return word
