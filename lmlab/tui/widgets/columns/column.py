"""One column: its title, its text, the facts under it. Knows nothing of its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lmlab.terminal_text import one_line
from lmlab.tui.widgets.columns.text import ColumnText
from lmlab.tui.widgets.fact_lines import FactLines

_TITLE = 200
_MARK = 20
# Around the facts.
_MARGIN_CELLS = 4


class ColumnTitle(Widget):
    """The line above the text: where the cursor is, the column's number, name and mark."""

    COMPONENT_CLASSES = {"column--cursor", "column--mark", "column--name"}  # noqa: RUF012 - Textual's own declaration
    ALLOW_SELECT = False

    def __init__(self, number: int, text: str) -> None:
        super().__init__(classes="title")
        self.number = number
        self.text = one_line(text, _TITLE)
        self.mark = ""
        self._current = False

    def set(self, text: str, mark: str) -> bool:
        """Take another name and mark; return whether they are others."""
        text, mark = one_line(text, _TITLE), one_line(mark, _MARK)
        if (text, mark) == (self.text, self.mark):
            return False
        self.text, self.mark = text, mark
        self.refresh()
        return True

    def point(self, current: bool) -> None:
        """Show whether the cursor is here."""
        if current != self._current:
            self._current = current
            self.refresh()

    def render(self) -> Content:
        line = Content.assemble(
            ("›" if self._current else " ", ".column--cursor"),
            (f"{self.number} ", ".column--cursor" if self._current else ""),
            (self.text, ".column--name" if self._current else ""),
            (f" {self.mark}" if self.mark else "", ".column--mark"),
        )
        return line.truncate(self.content_size.width, ellipsis=True)


class Column(Vertical):
    """Made and shown by Columns. Everything here may be called before it is on the screen, and again with the same.

    ``changed`` is called when what stands above or below the text, or its height, is another.
    """

    class Pressed(Message):
        """Somebody clicked on it; ``on_title``: on its title."""

        def __init__(self, column: Column, on_title: bool) -> None:
            super().__init__()
            self.column = column
            self.on_title = on_title

    def __init__(self, index: int, title: str, changed: Callable[[], None]) -> None:
        super().__init__()
        self.index = index
        self._changed = changed
        self.heading = ColumnTitle(index + 1, title)
        self._heights: tuple[int | None, int] | None = None
        self.body = ColumnText(changed)
        self.facts = FactLines(classes="facts")

    def compose(self) -> ComposeResult:
        yield self.heading
        yield self.body
        yield self.facts

    @property
    def following(self) -> bool:
        """Whether the end of the text stays in sight as it grows."""
        return self.body.following

    def append(self, text: str) -> None:
        """Add to the text, which is Markdown."""
        if text:
            self.body.append(text)

    def set_text(self, text: str) -> None:
        """Show another text, from its beginning."""
        self.body.set_text(text)

    def overlay(self, content: Content | None) -> None:
        """Show ``content``, which is safe, in place of the text until None; the text goes on growing meanwhile."""
        self.body.overlay(content)

    def clear(self) -> None:
        """Take the text and the facts away."""
        self.set_text("")
        self.show_status(())

    def title(self, text: str, mark: str = "") -> None:
        """Name the column; ``mark`` is a word or a sign after its name."""
        if self.heading.set(text, mark):
            self._changed()

    def show_status(self, lines: Sequence[str], error: str | None = None) -> None:
        """Show facts under the text, each line broken between two facts where it is too long."""
        if self.facts.show(lines, error):
            self._changed()

    def follow(self) -> None:
        """Go to the end of the text and stay there."""
        self.body.follow()

    def facts_height(self, width: int) -> int:
        """Return how many lines the facts take in a column of ``width`` cells."""
        return self.facts.height_in(max(1, width - _MARGIN_CELLS))

    def set_heights(self, text: int | None, facts: int) -> None:
        """Give the text and the facts so many lines; None lets the text fill what is left."""
        if (text, facts) != self._heights:
            self._heights = (text, facts)
            self.body.styles.height = "1fr" if text is None else text
            self.facts.styles.height = facts

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Pressed(self, event.widget is self.heading))
