"""Blocks laid out in a width: the lines of the screen, and how to join them again when they are copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content

from lmlab.tui.markdown.blocks import AnyBlock, Block, Table


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen. ``joint`` stands between the line before it and this one in the text that was wrapped."""

    content: Content
    joint: str = "\n"


_BLANK = Line(Content(""))
_MIN_WIDTH = 8


def lay_out(block: AnyBlock, width: int) -> list[Line]:
    """Return the lines of ``block``, none of them wider than ``width`` cells where that is possible."""
    lines = [_BLANK] if block.gap else []
    room = max(_MIN_WIDTH, width - max(block.first.cell_length, block.rest.cell_length))
    for number, line in enumerate(_body(block, room)):
        prefix = block.rest if number else block.first
        lines.append(Line(prefix + line.content if prefix else line.content, line.joint))
    return lines


def _body(block: AnyBlock, width: int) -> Iterator[Line]:
    if isinstance(block, Table):
        yield from _table(block, width)
    elif block.kind == "rule":
        yield Line(Content.styled("─" * width, ".prose--mark"))
    elif block.kind == "code":
        yield from _code(block, width)
    else:
        for whole in block.content.split(allow_blank=True):
            for number, part in enumerate(_wrapped(whole, width)):
                yield Line(part, " " if number else "\n")


def _wrapped(text: Content, width: int) -> list[Content]:
    """Return one line of text as lines of at most ``width`` cells. Most fit as they are, and wrapping costs."""
    return [text] if text.cell_length <= width and "\t" not in text.plain else text.wrap(width)


def _code(block: Block, width: int) -> Iterator[Line]:
    """Code keeps its lines; one that is too long is folded at the edge."""
    for whole in block.content.split(allow_blank=True):
        for number, part in enumerate(whole.expand_tabs(4).fold(width - 2)):
            padded = part.pad_right(max(0, width - 2 - part.cell_length)).pad(1, 1)
            yield Line(padded.stylize_before("on $surface"), "" if number else "\n")


def _table(table: Table, width: int) -> Iterator[Line]:
    columns = max((len(row) for row in table.rows), default=0)
    if not columns:
        return
    rows = [row + (Content(""),) * (columns - len(row)) for row in table.rows]
    wanted = [max(row[index].cell_length for row in rows) for index in range(columns)]
    sizes = _shares(wanted, max(columns, width - 3 * (columns - 1)))
    separator = Content.styled(" │ ", ".prose--mark")
    for number, row in enumerate(rows):
        cells = [_wrapped(cell, size) for cell, size in zip(row, sizes, strict=True)]
        for line in range(max(len(cell) for cell in cells)):
            parts = [cell[line] if line < len(cell) else Content("") for cell in cells]
            padded = [part.pad_right(max(0, size - part.cell_length)) for part, size in zip(parts, sizes, strict=True)]
            joined = separator.join(padded)
            yield Line(joined.stylize(".prose--subheading") if number == 0 else joined)
        if number == 0:
            yield Line(Content.styled("─┼─".join("─" * size for size in sizes), ".prose--mark"))


def _shares(wanted: list[int], room: int) -> list[int]:
    """Give each column what it wants, as long as that is no more than an even share of what is left."""
    sizes = [0] * len(wanted)
    left = sorted(range(len(wanted)), key=wanted.__getitem__)
    while left:
        index = left.pop(0)
        sizes[index] = max(1, min(wanted[index], room // (len(left) + 1)))
        room -= sizes[index]
    return sizes
