"""Inline Markdown as styled text. Every character passes ``visible``: parsing may have decoded something unsafe."""

from __future__ import annotations

from collections.abc import Iterable

from markdown_it.token import Token
from textual.content import Content, Span

from lmlab.terminal_text import visible

_STYLES = {"em": ".prose--em", "strong": ".prose--strong", "s": ".prose--strike", "link": ".prose--link"}


def inline(tokens: Iterable[Token]) -> Content:
    """Return the text of inline ``tokens``. A link shows where it leads and does nothing when clicked."""
    text: list[str] = []
    spans: list[Span] = []
    opened: list[tuple[int, str]] = []
    position = 0

    def add(piece: str, style: str | None = None) -> None:
        nonlocal position
        piece = visible(piece)
        text.append(piece)
        if style:
            spans.append(Span(position, position + len(piece), style))
        position += len(piece)

    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            add("\n")
        elif token.type == "code_inline":
            add(token.content, "on $panel")
        elif token.type.endswith("_open"):
            opened.append((position, str(token.attrs.get("href", ""))))
        elif token.type.endswith("_close"):
            start, target = opened.pop()
            name = token.type.removesuffix("_close")
            if style := _STYLES.get(name):
                spans.append(Span(start, position, style))
            if name == "link" and target and target != "".join(text)[start:]:
                add(f" ({target})", ".prose--mark")
        else:
            add(token.content)
    return Content("".join(text), spans=spans)
