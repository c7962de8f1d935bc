"""Parsed Markdown as flat blocks: a text each, with what stands before its lines. Knows nothing of widths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode
from textual.content import Content

from lmlab.tui.markdown.code import highlighted
from lmlab.tui.markdown.inline import inline

_NOTHING = Content("")


@dataclass(frozen=True, slots=True)
class Block:
    """A text that is wrapped to the width, or code that is folded. ``gap``: a blank line stands before it.

    ``first`` and ``rest`` go before its first line and its other lines.
    """

    content: Content
    kind: Literal["text", "code", "rule"] = "text"
    first: Content = _NOTHING
    rest: Content = _NOTHING
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the header first."""

    rows: tuple[tuple[Content, ...], ...]
    first: Content = _NOTHING
    rest: Content = _NOTHING
    gap: bool = False


AnyBlock: TypeAlias = Block | Table

_MARK = ".prose--mark"


def blocks_of(tokens: Sequence[Token]) -> list[AnyBlock]:
    """Return the blocks of whole top-level tokens; a gap before each but the first."""
    return list(_spaced(SyntaxTreeNode(tokens)))


def _spaced(parent: SyntaxTreeNode) -> Iterator[AnyBlock]:
    """The blocks of the children of ``parent``, with a gap between two of them; inside lists, where the source has one.

    Whether *this* gap is in the source, not whether any of the list's is: so a list looks the same while it grows.
    """
    before: SyntaxTreeNode | None = None
    for child in parent.children:
        apart = before is not None and (parent.type not in _LISTS or _start(child) > _end(before))
        for position, block in enumerate(_convert(child)):
            yield replace(block, gap=apart) if position == 0 else block
        before = child


_LISTS = ("bullet_list", "ordered_list", "list_item")


def _start(node: SyntaxTreeNode) -> int:
    return node.map[0] if node.map else 0


def _end(node: SyntaxTreeNode) -> int:
    """The line after the last one of ``node`` that is not blank."""
    if node.type in (*_LISTS, "blockquote"):
        return _end(node.children[-1]) if node.children else _start(node) + 1
    return node.map[1] if node.map else 0


def _convert(node: SyntaxTreeNode) -> Iterator[AnyBlock]:
    match node.type:
        case "bullet_list" | "ordered_list":
            yield from _spaced(node)
        case "list_item":
            yield from _item(node)
        case "blockquote":
            bar = Content.styled("│ ", _MARK)
            yield from (_within(block, bar, bar) for block in _spaced(node))
        case "fence" | "code_block":
            yield Block(highlighted(node.content.removesuffix("\n"), node.info), "code")
        case "hr":
            yield Block(Content(""), "rule")
        case "table":
            yield Table(tuple(_row(row) for part in node.children for row in part.children))
        case "heading":
            style = ".prose--heading" if node.tag in ("h1", "h2") else ".prose--subheading"
            yield Block(_text(node).stylize(style))
        case _:
            yield Block(_text(node))


def _item(item: SyntaxTreeNode) -> Iterator[AnyBlock]:
    marker = f"{item.info}{item.markup} " if item.info else "• "
    first, rest = Content.styled(marker, _MARK), Content(" " * len(marker))
    inner = list(_spaced(item)) or [Block(Content(""))]
    for position, block in enumerate(inner):
        yield _within(block, rest if position else first, rest)


def _within(block: AnyBlock, first: Content, rest: Content) -> AnyBlock:
    return replace(block, first=first + block.first, rest=rest + block.rest)


def _row(row: SyntaxTreeNode) -> tuple[Content, ...]:
    return tuple(_text(cell) for cell in row.children)


def _text(node: SyntaxTreeNode) -> Content:
    """The text of a node that holds one inline token."""
    tokens = [child.token for child in node.children if child.type == "inline"]
    return inline(token.children or []) if tokens and (token := tokens[0]) else Content("")
