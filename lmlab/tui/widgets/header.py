"""The line at the top: the model, the session, how full the context is. Knows nothing of the chat."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from lmlab.terminal_text import one_line
from lmlab.tui.format import bar
from lmlab.tui.status import NEARLY_FULL

_BAR_CELLS = 8


@dataclass(frozen=True, slots=True)
class HeaderView:
    """``model`` is a short name, ``detail`` what else is known of it; of the context ``used`` and the size, None when unknown."""

    model: str = ""
    detail: str = ""
    title: str = ""
    used: int | None = 0
    context: int | None = None


class Header(Widget):
    COMPONENT_CLASSES = {"header--name", "header--model", "header--detail", "header--near", "header--full"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__(id="header")
        self._view = HeaderView()

    def show(self, view: HeaderView) -> None:
        if view != self._view:
            self._view = view
            self.refresh()

    def render(self) -> Content:
        width = self.content_size.width
        right = self._fullness()
        name = Content.styled("lmlab", ".header--name")
        model = Content.styled(one_line(self._view.model, 40), ".header--model")
        detail = Content.styled(f" · {one_line(self._view.detail, 60)}" if self._view.detail else "", ".header--detail")
        left = name + "  " + model + detail
        if left.cell_length + 2 + right.cell_length > width:
            left = (name + "  " + model).truncate(max(0, width - right.cell_length - 2), ellipsis=True)
        room = width - left.cell_length - right.cell_length - 6
        title = one_line(self._view.title, max(2, room)) if room >= 12 else ""
        while title and cell_len(title) > room:
            title = title[:-2] + "…"
        gap = width - left.cell_length - right.cell_length - cell_len(title)
        before = gap // 2
        middle = Content.styled(" " * before + title + " " * (gap - before), ".header--detail")
        return left + middle + right

    def _fullness(self) -> Content:
        view = self._view
        if not view.context:
            return Content("")
        share = (view.used or 0) / view.context
        style = ".header--full" if share >= 1 else ".header--near" if share >= NEARLY_FULL else ".header--detail"
        whole = f"{view.context:,}"
        used = "" if view.used is None else f"{view.used:,}"
        numbers = f"{used.rjust(len(whole))} / {whole}"
        word = "context full" if share >= 1 else "context"
        return Content.styled(f"{word} {bar(share, _BAR_CELLS)} {numbers}", style)
