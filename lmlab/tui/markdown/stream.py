"""Markdown source that grows at its end; lines end with a newline and nothing else. What cannot change any more is settled and never parsed again.

Settled are: every top-level block but the last, every item of the last list but its last, and all but the last few
dozen lines of a fence that is still open. What is left to parse is short, however long the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from markdown_it.token import Token

from lmlab.tui.markdown.blocks import AnyBlock, Block, blocks_of
from lmlab.tui.markdown.code import highlighted
from lmlab.tui.markdown.parser import parser

_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}|~{3,})(?P<info>[^`\n]*)\n")
# Code is coloured in pieces of this many lines: long enough for most strings and comments, short enough to redo.
_CODE_PIECE = 24


@dataclass(slots=True)
class _Fence:
    """An open fence at top level: its mark, its language, the lines of the piece at its end."""

    mark: str
    info: str
    lines: list[str] = field(default_factory=list)
    partial: str = ""
    gap: bool = False
    continued: bool = False

    def ends(self, line: str) -> bool:
        text = line.strip()
        return len(text) >= len(self.mark) and set(text) == {self.mark[0]} and not line.startswith("    ")

    def block(self) -> Block:
        hidden = set(self.partial.strip()) <= {self.mark[0]}
        lines = self.lines if hidden else [*self.lines, self.partial]
        return Block(highlighted("\n".join(lines), self.info), "code", gap=self.gap)


class MarkdownSource:
    """Feed it fragments; ``blocks`` is what they mean so far."""

    def __init__(self) -> None:
        self._settled: list[AnyBlock] = []
        self._open: list[AnyBlock] = []
        self._tail = ""
        self._gap = False
        self._fence: _Fence | None = None

    @property
    def blocks(self) -> list[AnyBlock]:
        return self._settled + self._open

    def feed(self, text: str) -> tuple[int, list[AnyBlock]]:
        """Add ``text``. Return how many blocks from the start stayed as they were, and all blocks after those."""
        stable = len(self._settled)
        self._tail += text
        if "\n" in text or self._fence is not None:
            while self._settle():
                pass
        if self._fence is not None:
            self._fence.partial = self._tail
            self._open = [self._fence.block()]
        else:
            self._open = self._joined(blocks_of(parser().parse(self._tail)))
        return stable, self._settled[stable:] + self._open

    def _settle(self) -> bool:
        """Do one step; return whether there may be more to do.

        Only whole lines count: the start of a line may look like a heading, a rule or a list, and be none of them.
        """
        if self._fence is not None:
            return self._read_fence(self._fence)
        tokens = parser().parse(self._tail[: self._tail.rfind("\n") + 1])
        starts = [index for index, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
        if not starts:
            return False
        last = tokens[starts[-1] :]
        if starts[-1] > 0:
            self._take(blocks_of(tokens[: starts[-1]]), last[0])
            self._gap = True
            return True
        if last[0].type == "fence" and (opening := _FENCE.match(self._tail.lstrip("\n"))):
            self._fence = _Fence(opening["mark"], opening["info"].strip(), gap=self._gap)
            self._tail = self._tail.lstrip("\n")[opening.end() :]
            return True
        return last[0].type in ("bullet_list_open", "ordered_list_open") and self._take_items(last)

    def _take_items(self, tokens: list[Token]) -> bool:
        """Settle all items of a list but the last; return whether there were any."""
        items = [index for index, token in enumerate(tokens) if token.type == "list_item_open" and token.level == 1]
        if len(items) < 2:
            return False
        blocks = blocks_of(tokens)
        alone = len(blocks_of([tokens[0], *tokens[items[-1] :]]))
        gap = blocks[-alone].gap
        self._take(blocks[:-alone], tokens[items[-1]])
        self._gap = gap
        return True

    def _take(self, blocks: list[AnyBlock], rest: Token) -> None:
        """Settle ``blocks``; what is left to parse begins where ``rest`` does."""
        self._settled += self._joined(blocks)
        start = rest.map[0] if rest.map else 0
        self._tail = "\n".join(self._tail.split("\n")[start:])

    def _joined(self, blocks: list[AnyBlock]) -> list[AnyBlock]:
        return [replace(block, gap=self._gap) if index == 0 else block for index, block in enumerate(blocks)]

    def _read_fence(self, fence: _Fence) -> bool:
        lines = self._tail.split("\n")
        for number, line in enumerate(lines[:-1]):
            if fence.ends(line):
                fence.partial = ""
                if fence.lines or not fence.continued:
                    self._settled.append(fence.block())
                self._fence, self._gap = None, True
                self._tail = "\n".join(lines[number + 1 :])
                return True
            fence.lines.append(line)
            if len(fence.lines) >= _CODE_PIECE:
                fence.partial = ""
                self._settled.append(fence.block())
                fence.lines, fence.gap, fence.continued = [], False, True
        self._tail = lines[-1]
        return False
