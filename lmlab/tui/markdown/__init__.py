"""Markdown that grows: text goes in as it streams, lines for the screen come out, and only the end is done again.

Textual's own Markdown widget mounts a widget a block and lays all of them out on every fragment: a list of 400 items
held the keyboard for a second. Here a reply is one widget, and what is finished is never parsed or wrapped twice.
"""

from lmlab.tui.markdown.blocks import Block, Table
from lmlab.tui.markdown.lines import Line, lay_out
from lmlab.tui.markdown.stream import MarkdownSource

__all__ = ["Block", "Line", "MarkdownSource", "Table", "lay_out"]
