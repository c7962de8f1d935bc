"""Columns side by side, as many as fit; the others are a tab away. Knows nothing of what the texts are.

Only columns in sight are on the screen at all, and what streams into one moves nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message

from lmlab.tui.widgets.columns.column import Column
from lmlab.tui.widgets.columns.tabs import TabLine

LEAST_CELLS = 36
_MOST_FACTS = 8
# A reply of one line is rare.
_FIRST_LINES = 8


class Columns(Vertical, can_focus=True):
    """A column for each of ``titles``; ``least`` is how many cells one needs.

    Without ``lines`` it fills its place; with it, it grows with its longest text in sight, up to so many lines.
    Not ``focusable``, it takes no keys, and whoever shows it calls ``move``, ``choose`` and ``scroll``.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        *(Binding(str(number), f"choose({number - 1})", show=False) for number in range(1, 10)),
        *(Binding(key, f"scroll({key!r})", show=False) for key in ("up", "down", "home", "end")),
        Binding("pageup", "scroll('page_up')", show=False),
        Binding("pagedown", "scroll('page_down')", show=False),
        Binding("enter", "pick", show=False),
    ]

    class Picked(Message):
        """Somebody wants the column ``index``: by Enter, or by a click on its title."""

        def __init__(self, columns: Columns, index: int) -> None:
            super().__init__()
            self.columns = columns
            self.index = index

        @property
        def control(self) -> Columns:
            return self.columns

    class Moved(Message):
        """``index`` is the current column now, or others are in sight."""

        def __init__(self, columns: Columns, index: int) -> None:
            super().__init__()
            self.columns = columns
            self.index = index

        @property
        def control(self) -> Columns:
            return self.columns

    def __init__(
        self,
        titles: Sequence[str],
        *,
        least: int = LEAST_CELLS,
        lines: int | None = None,
        focusable: bool = True,
    ) -> None:
        super().__init__()
        self.can_focus = focusable
        self.set_class(lines is not None, "-grows")
        self._columns = tuple(Column(index, title, self._changed) for index, title in enumerate(titles))
        self._least = least
        self._lines = lines
        self._tabs = TabLine()
        self._row = Horizontal(classes="row")
        self._current = 0
        self._shown = range(0)
        self._settling = False
        self._tall = 1

    def compose(self) -> ComposeResult:
        yield self._tabs
        yield self._row

    @property
    def count(self) -> int:
        return len(self._columns)

    @property
    def shown(self) -> range:
        """The columns in sight."""
        return self._shown

    @property
    def paged(self) -> bool:
        """Whether some are out of sight."""
        return len(self._shown) < len(self._columns)

    @property
    def current(self) -> int:
        """Where the cursor is."""
        return self._current

    def column(self, index: int) -> Column:
        return self._columns[index]

    def set_lines(self, lines: int) -> None:
        """Let it be of at most so many lines of text."""
        if lines != self._lines:
            self._lines = lines
            self._settle()

    def choose(self, index: int) -> None:
        """Go to the column ``index``; nothing happens where there is none."""
        if 0 <= index < len(self._columns) and index != self._current:
            self._current = index
            self._arrange()

    def move(self, by: int) -> None:
        """Go so many columns to the right, or to the left; not beyond the last."""
        self.choose(min(len(self._columns) - 1, max(0, self._current + by)))

    def scroll(self, where: str) -> None:
        """Scroll the current column: ``up``, ``down``, ``page_up``, ``page_down``, ``home`` or ``end``."""
        self._columns[self._current].body.scroll(where)

    def scroll_all(self, where: str) -> None:
        """Scroll every column in sight."""
        for index in self._shown:
            self._columns[index].body.scroll(where)

    def action_move(self, by: int) -> None:
        self.move(by)

    def action_choose(self, index: int) -> None:
        self.choose(index)

    def action_scroll(self, where: str) -> None:
        self.scroll(where)

    def action_pick(self) -> None:
        self.post_message(self.Picked(self, self._current))

    def on_resize(self) -> None:
        self._arrange()

    @on(TabLine.Pressed)
    def _on_tab_pressed(self, event: TabLine.Pressed) -> None:
        event.stop()
        self.choose(event.index)

    @on(Column.Pressed)
    def _on_column_pressed(self, event: Column.Pressed) -> None:
        event.stop()
        self.choose(event.column.index)
        if event.on_title:
            self.post_message(self.Picked(self, event.column.index))

    def _arrange(self) -> None:
        """Show the columns that fit, the current one among them, and say so."""
        if not self._columns or not self.size.width:
            return
        fit = min(len(self._columns), max(1, self.size.width // self._least))
        first = min(self._shown.start, self._current, len(self._columns) - fit)
        first = max(first, self._current - fit + 1)
        before, self._shown = self._shown, range(first, first + fit)
        if before != self._shown:
            self._put_in_sight()
        for index in self._shown:
            self._columns[index].heading.point(index == self._current and (self.can_focus or self.paged))
        self._settle()
        self.post_message(self.Moved(self, self._current))

    def _put_in_sight(self) -> None:
        self._tabs.display = self.paged
        last = self._shown[-1]
        for column in self._columns:
            here = column.index in self._shown
            column.display = here
            column.body.show(here, apart=column.index != last)
            if here and not column.is_attached:
                after = [one for one in self._columns[: column.index] if one.is_attached]
                self._row.mount(column, after=after[-1]) if after else self._row.mount(column, before=0)

    def _changed(self) -> None:
        # Once for all that changes at the same time.
        if not self._settling and self.is_attached:
            self._settling = True
            self.call_later(self._settle)

    def _settle(self) -> None:
        """Make all facts in sight as high as the highest, and the texts too if there is no place to fill."""
        self._settling = False
        if not self._shown:
            return
        seen = [self._columns[index] for index in self._shown]
        if self.paged:
            self._tabs.show([(one.heading.mark, one.heading.text) for one in self._columns], self._shown, self._current)
        width = self.size.width // len(seen)
        facts = min(_MOST_FACTS, max(column.facts_height(width) for column in seen))
        text = 0
        if self._lines is not None:
            needed = max(column.body.line_count for column in seen)
            # By leaps: each time, everything on the screen is laid out and drawn anew.
            if needed > self._tall:
                self._tall = max(needed, _FIRST_LINES, 2 * self._tall)
            elif not needed:
                self._tall = 1
            text = min(self._lines, self._tall)
        for column in seen:
            column.set_heights(text or None, facts)
