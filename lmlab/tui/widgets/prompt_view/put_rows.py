"""How the template is put, a row for each thing: technique, examples, other inputs. Knows nothing of templates."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lmlab.terminal_text import one_line
from lmlab.tui.widgets.prompt_view.choice import PutRow

_LABEL_CELLS = 12
_LEAST_CELLS = 4


class PutRows(Widget):
    """The rows, and under them what is wrong."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "put--here",
        "put--value",
        "put--quiet",
        "put--error",
    }
    ALLOW_SELECT = False

    class Picked(Message):
        """Row ``index`` was clicked, ``by`` -1 or 1 on one of the arrows around its value, else 0."""

        def __init__(self, index: int, by: int) -> None:
            super().__init__()
            self.index = index
            self.by = by

    def __init__(self) -> None:
        super().__init__(id="put")
        self._rows: Sequence[PutRow] = ()
        self._here: int | None = None
        self._error: str | None = None

    def show(self, rows: Sequence[PutRow], here: int | None, error: str | None) -> None:
        """Show ``rows``, the cursor on the row ``here``; None: keys go elsewhere."""
        shown = (tuple(rows), here, error)
        if shown != (self._rows, self._here, self._error):
            self._rows, self._here, self._error = shown
            self.refresh(layout=True)

    def render(self) -> Content:
        lines = [self._line(index, row) for index, row in enumerate(self._rows)]
        if self._error is not None:
            lines.append(Content.styled(self._error, ".put--error"))
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or not 0 <= offset.y < len(self._rows):
            return
        row, start = self._rows[offset.y], _LABEL_CELLS + 2
        at = offset.x - start
        # A click on the value is a step on, one on the arrow before it a step back.
        by = 0 if row.typed or at < 0 else -1 if at < 2 else 1
        self.post_message(self.Picked(offset.y, by))

    def _line(self, index: int, row: PutRow) -> Content:
        here = index == self._here
        label = f"{one_line(row.name, _LABEL_CELLS):<{_LABEL_CELLS}}"
        pointer = Content.styled("› " if here else "  ", ".put--here")
        room = max(_LEAST_CELLS, self.content_size.width - _LABEL_CELLS - 4) if self.content_size.width else 200
        if row.typed:
            # The end is where one types.
            value = row.value if len(row.value) <= room else "…" + row.value[-room + 1 :]
            text = Content.styled(f"{'' if row.faint and here else value}{'▁' if here else ''}", _style(row, here))
            hint = Content.styled(f" {one_line(row.value, room)}" if row.faint and here else "", ".put--quiet")
            return pointer + Content.styled(label, ".put--here" if here else "") + text + hint
        return (
            pointer
            + Content.styled(label, ".put--here" if here else "")
            + Content.assemble(("‹ ", ".put--quiet"), (row.value, _style(row, here)), (" ›", ".put--quiet"))
        )


def _style(row: PutRow, here: bool) -> str:
    return ".put--quiet" if row.faint else ".put--here" if here else ".put--value"
