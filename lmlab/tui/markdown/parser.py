"""The Markdown dialect of replies, chosen so that nothing a model said goes missing. Knows nothing of the screen."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.escape import escape


@cache
def parser() -> MarkdownIt:
    """Return the one parser.

    HTML is text. Entities, images, link definitions and autolinks stay as they were written: decoding them would hide
    words or make control characters out of harmless text. A line of dashes under a text is a rule, not a heading, so
    that a streaming list does not jump.
    """
    markdown = MarkdownIt("gfm-like", {"html": False, "linkify": False})
    markdown.disable(["entity", "image", "autolink", "reference", "lheading", "linkify"])
    markdown.inline.ruler.at("escape", _escape_but_mathematics)
    return markdown


def _escape_but_mathematics(state: StateInline, silent: bool) -> bool:
    """Models write formulas as ``\\( x \\)`` and ``\\[ x \\]``: there the backslash is part of what they said."""
    if state.src[state.pos : state.pos + 2] in ("\\(", "\\)", "\\[", "\\]"):
        return False
    return escape(state, silent)
