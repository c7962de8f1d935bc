"""Code with its syntax coloured, in few colours. Knows nothing of fences or widths."""

from __future__ import annotations

from functools import lru_cache

from pygments.token import Token  # type: ignore[import-untyped, unused-ignore]
from textual.content import Content
from textual.highlight import HighlightTheme, highlight

from lmlab.terminal_text import visible


class _Calm(HighlightTheme):
    """Comments recede, what a person looks for stands out, the rest is text."""

    STYLES = {  # noqa: RUF012 - the base class says what this is
        Token.Comment: ".prose--code-comment",
        Token.Keyword: ".prose--code-keyword",
        Token.Operator.Word: ".prose--code-keyword",
        Token.Literal.String: ".prose--code-literal",
        Token.Literal.Number: ".prose--code-literal",
        Token.Name.Function: ".prose--code-name",
        Token.Name.Class: ".prose--code-name",
        Token.Name.Tag: ".prose--code-keyword",
        Token.Generic.Deleted: ".prose--code-comment",
        Token.Generic.Inserted: ".prose--code-literal",
    }


@lru_cache(maxsize=256)
def highlighted(code: str, info: str) -> Content:
    """Return ``code`` coloured by the language that ``info``, the words after a fence, names first."""
    language = info.split()[0].lower() if info.split() else "text"
    coloured = highlight(visible(code), language=language, theme=_Calm, tab_size=4)
    # Without Textual's colour for all the rest: the rest has the colour of text.
    return Content(coloured.plain, spans=[span for span in coloured.spans if span.style != "$text"])
