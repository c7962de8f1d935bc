"""The list of what a command may become, above the input. Knows nothing of commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from lmlab.terminal_text import one_line

_SHOWN = 6
_TEXT_CELLS = 12


@dataclass(frozen=True, slots=True)
class Offer:
    """What the line may become, and what that is for."""

    line: str
    help: str = ""


class Completions(Widget):
    """Lines to choose from, one marked. ``chosen`` is the marked one, None when there is nothing to offer."""

    COMPONENT_CLASSES = {"completions--chosen"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="completions")
        self.display = False
        self._offers: tuple[Offer, ...] = ()
        self._index = 0

    @property
    def chosen(self) -> str | None:
        return self._offers[self._index].line if self.display and self._offers else None

    def offer(self, offers: Sequence[Offer]) -> None:
        self.display = bool(offers)
        # Asked at every key: a layout is most of what a key costs.
        if tuple(offers) != self._offers:
            self._offers = tuple(offers)
            self._index = 0
            self.refresh(layout=True)

    def close(self) -> None:
        self.display = False

    def move(self, by: int) -> None:
        self._index = (self._index + by) % len(self._offers)
        self.refresh()

    def render(self) -> Content:
        first = max(0, min(self._index - _SHOWN + 1, len(self._offers) - _SHOWN))
        shown = range(first, min(len(self._offers), first + _SHOWN))
        lines = []
        for index in shown:
            offer, chosen = self._offers[index], index == self._index
            text = f"{'›' if chosen else ' '} {one_line(offer.line, 60):<{_TEXT_CELLS}}"
            line = Content.styled(text, ".completions--chosen" if chosen else "")
            lines.append(line + Content.styled(f" {offer.help}", "$text-muted") if offer.help else line)
        if len(self._offers) > _SHOWN:
            lines.append(Content.styled(f"  {self._index + 1} of {len(self._offers)}", "$text-muted"))
        return Content("\n").join(lines)
