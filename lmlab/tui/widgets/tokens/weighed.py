"""What the model weighed at one token: candidates as bars, before and after each stage of the sampler.

Shows what it is given and says what is clicked; knows nothing of the chat.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.message import Message
from textual.style import Style
from textual.widget import Widget

from lmlab.backends import Alternative
from lmlab.tui.widgets.tokens.figures import Window, percent, stage_index, window
from lmlab.tui.widgets.tokens.looks import Seen
from lmlab.tui.widgets.tokens.spelling import END, fit, shown
from lmlab.tui.widgets.tokens.tables import Table, table


@dataclass(frozen=True, slots=True)
class WeighedView:
    """``seen`` is one place of a reply of ``count`` tokens; ``stage`` the stage chosen, None for the last.

    ``row`` is the place of the candidate that has the keys; None when they are elsewhere. ``late``: another token
    has been selected for a while and is still being looked at. ``loading`` says that the model is not there to be asked,
    ``trouble`` why there is nothing to see. ``held`` is what the reply was held to, a grammar or a schema: the stages do
    not know of it.
    """

    seen: Seen | None = None
    count: int = 0
    stage: str | None = None
    row: int | None = None
    late: bool = False
    loading: str | None = None
    trouble: str | None = None
    held: str | None = None


class Weighed(Widget):
    """Posts ``StagePicked``, ``RowPicked`` and ``Wheeled``; shows what ``show`` was given last."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "weighed--title",
        "weighed--quiet",
        "weighed--stage",
        "weighed--drawn",
        "weighed--bar",
        "weighed--lost",
        "weighed--gone",
        "weighed--cursor",
        "weighed--here",
        "weighed--trouble",
    }

    class StagePicked(Message):
        """The stage ``name`` was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    class RowPicked(Message):
        """The candidate at ``row`` was clicked, ``twice`` in a row."""

        def __init__(self, row: int, twice: bool) -> None:
            super().__init__()
            self.row = row
            self.twice = twice

    class Wheeled(Message):
        """The wheel was turned over the candidates."""

        def __init__(self, rows: int) -> None:
            super().__init__()
            self.rows = rows

    def __init__(self) -> None:
        super().__init__(id="weighed")
        self._view = WeighedView()
        self._table: Table | None = None
        self._window = Window(0, 0)
        self._start = 0

    def show(self, view: WeighedView) -> None:
        if view != self._view:
            if view.seen is None or self._view.seen is None or view.seen.place != self._view.seen.place:
                self._start = 0
            self._view = view
            self.refresh()

    @property
    def page(self) -> int:
        """How many candidates are in sight."""
        return max(1, self._window.count)

    def render(self) -> Content:
        view = self._view
        self._table = None
        if view.trouble is not None:
            return Content.styled(view.trouble, ".weighed--trouble")
        if view.seen is None:
            return Content.styled(view.loading or "looking at what the model weighed", ".weighed--quiet")
        distribution, width = view.seen.distribution, self.content_size.width
        stage = stage_index(distribution, view.stage)
        shape = self._table = table(distribution, stage, width)
        alternatives = distribution.alternatives
        pin = next((row for row, one in enumerate(alternatives) if one.token == view.seen.place.drawn), None)
        drawn = None if pin is None else alternatives[pin]
        head = [
            self._title(view.seen, drawn, width),
            _facts(drawn, view.held).truncate(width, ellipsis=True),
            *shape.head(),
        ]
        room = self.content_size.height - len(head)
        self._window = window(len(alternatives), room, view.row, pin, self._start)
        self._start = self._window.start
        rows = []
        for row in self._window.rows:
            line = shape.row(alternatives[row], drawn=row == pin, here=row == view.row, late=view.late)
            rows.append(self._lit(line, width) if row == view.row else line)
        return Content("\n").join([*head, *rows])

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        if at is None or self._table is None:
            return
        head = 2 + self._table.lines
        if at.y < head:
            name = self._table.stage_at(at.x, at.y - 2)
            if name is not None:
                self.post_message(self.StagePicked(name))
        elif at.y - head < len(self._window.rows):
            self.post_message(self.RowPicked(self._window.rows[at.y - head], event.chain > 1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Wheeled(-1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Wheeled(1))

    def _lit(self, line: Content, width: int) -> Content:
        # By value: of a style that is named in a Content, Textual drops a background that covers all.
        style = Style(background=self.get_visual_style("weighed--here").background)
        return line.pad_right(max(0, width - line.cell_length)).stylize(style)

    def _title(self, seen: Seen, drawn: Alternative | None, width: int) -> Content:
        place = (
            f"after token {seen.place.at:,}"
            if drawn is None
            else f"token {seen.place.at + 1:,} of {self._view.count:,}"
        )
        if self._view.late:
            place = self._view.loading or "looking at another token"
        name = shown(drawn.text) if drawn is not None else f"{END} the end"
        room = max(0, width - cell_len(place) - 1)
        return Content.assemble((fit(name, room), ".weighed--title"), " ", (place, ".weighed--quiet"))


def _facts(drawn: Alternative | None, held: str | None) -> Content:
    """Return where the token that was drawn stood, and what the sampler made of it."""
    if drawn is None:
        return Content.styled("candidates to go on with instead", ".weighed--quiet")
    rank = f"rank {drawn.rank + 1:,}"
    if drawn.removed_by is not None:
        end = f"removed by {drawn.removed_by}" if held is None else f"by the {held}"
    else:
        end = f"{percent(drawn.probabilities[-1]).strip()} % kept"
    return Content.styled(f"{rank} · {percent(drawn.probabilities[0]).strip()} % raw → {end}", ".weighed--quiet")
