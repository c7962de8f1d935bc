"""Answers with the words marked in which they differ. Knows nothing of columns."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from lmlab.lab.compare.differences import Span, differences
from lmlab.terminal_text import visible

_CHANGED = "bold underline $accent"


def marked(texts: Sequence[str]) -> list[Content]:
    """Return each text: two with what the other does not have marked, of more each other one against the first."""
    if len(texts) == 2:
        found = differences(texts[0], texts[1])
        return [_content(found.left), _content(found.right)]
    first = Content(visible(texts[0]))
    return [first, *(_content(differences(texts[0], text).right) for text in texts[1:])]


def _content(spans: Sequence[Span]) -> Content:
    return Content("").join(
        [
            Content.styled(visible(span.text), _CHANGED) if span.changed else Content(visible(span.text))
            for span in spans
        ]
    )
