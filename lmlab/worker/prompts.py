"""What a model is given to continue. Part of what the two processes say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. ``tokens``: the ids a reply was generated as, so that it is not tokenized again."""

    role: Role
    content: str
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages for a chat template: the model's own, or ``template`` (Jinja2 source) in its place."""

    messages: tuple[Message, ...]
    template: str | None = None


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text to continue, with no template. Special tokens in it are plain text unless ``parse_special``."""

    text: str
    parse_special: bool = False


Prompt: TypeAlias = ChatPrompt | TextPrompt
