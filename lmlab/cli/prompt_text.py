"""A rendered prompt as text for people and as JSON for programs. Knows nothing of where it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmlab.backends import Message
from lmlab.lab.prompt_view import PromptView, Sharing

if TYPE_CHECKING:
    from lmlab.prompting import Rendered, Renderer


def messages_text(messages: tuple[Message, ...], sharing: Sharing, view: PromptView | None) -> str:
    """Return the messages under headings; ``view`` counts their tokens."""
    written = []
    for index, message in enumerate(messages):
        head: list[str] = [message.role]
        if view is not None:
            head.append(_tokens(view.parts[index]))
        if index < sharing.messages:
            head.append("shared")
        elif index == sharing.messages and sharing.in_message:
            head.append(f"shared up to character {sharing.in_message:,}")
        written.append(f"=== {' · '.join(head)}\n{message.content}\n\n")
    return "".join(written)


def final_text(rendered: Rendered, view: PromptView) -> str:
    """Return what the model gets, and for a base model how its reply is taken."""
    head = f"=== text · {_tokens(view.tokens)}, the first {view.shared:,} shared\n"
    if view.chat:
        return f"{head}{view.text}\n"
    stops = ", ".join(map(repr, rendered.stop)) or "none"
    return f"{head}{view.text}\n\n=== the reply goes on from {rendered.lead!r} · stop texts: {stops}\n"


def to_dict(
    renderer: Renderer, rendered: Rendered, messages: tuple[Message, ...], sharing: Sharing, view: PromptView | None
) -> dict[str, Any]:
    """Return all of it as plain JSON values."""
    return {
        "template": renderer.template.name,
        "fingerprint": renderer.fingerprint,
        "technique": renderer.technique,
        "examples": list(rendered.examples),
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "text": rendered.text,
        "lead": rendered.lead,
        "stop": list(rendered.stop),
        "shared": {
            "messages": sharing.messages,
            "in_message": sharing.in_message,
            "characters": sharing.characters,
        },
        "model": view
        and {
            "ref": view.model.ref,
            "chat_template": view.chat,
            "text": view.text,
            "tokens": view.tokens,
            "shared_tokens": view.shared,
            "message_tokens": list(view.parts),
        },
    }


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count:,} tokens"
