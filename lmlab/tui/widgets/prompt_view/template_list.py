"""The templates by name, those that match what is typed, one pointed at. Knows nothing of what a template does."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from lmlab.terminal_text import one_line
from lmlab.tui.widgets.prompt_view.choice import title

_NAME = 60
_HEAD_LINES = 1


class TemplateList(Widget):
    """As many names as fit, around the one pointed at."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "templates--title",
        "templates--filter",
        "templates--here",
        "templates--quiet",
    }
    ALLOW_SELECT = False

    class Picked(Message):
        """The template ``name`` was clicked."""

        def __init__(self, name: str | None) -> None:
            super().__init__()
            self.name = name

    class Wheeled(Message):
        """The wheel was turned by ``by``."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self) -> None:
        super().__init__(id="templates")
        self._names: Sequence[str | None] = ()
        self._pointed: str | None = None
        self._filter = ""
        self._active = True

    def show(self, names: Sequence[str | None], pointed: str | None, filter: str, active: bool) -> None:
        """Show ``names``; ``active``: keys go here."""
        shown = (tuple(names), pointed, filter, active)
        if shown != (self._names, self._pointed, self._filter, self._active):
            self._names, self._pointed, self._filter, self._active = shown
            self.refresh()

    def render(self) -> Content:
        lines = [self._head(), *(self._line(name) for name in self._names[self._first : self._first + self._room])]
        if not self._names:
            lines.append(Content.styled("no template is called so", ".templates--quiet"))
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        index = self._first + offset.y - _HEAD_LINES if offset is not None else -1
        if offset is not None and offset.y >= _HEAD_LINES and index < len(self._names):
            self.post_message(self.Picked(self._names[index]))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.post_message(self.Wheeled(-1))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.post_message(self.Wheeled(1))

    @property
    def _room(self) -> int:
        return max(1, self.content_size.height - _HEAD_LINES)

    @property
    def _first(self) -> int:
        """The first name that is shown."""
        at = self._names.index(self._pointed) if self._pointed in self._names else 0
        return max(0, min(at - self._room // 2, len(self._names) - self._room))

    def _head(self) -> Content:
        style = ".templates--here" if self._active else ".templates--title"
        typed = f"{one_line(self._filter, 20)}▁" if self._active else one_line(self._filter, 20)
        return Content.assemble(("Template ", style), (typed, ".templates--filter"))

    def _line(self, name: str | None) -> Content:
        text = one_line(title(name), _NAME)
        if name != self._pointed:
            return Content.styled(f"  {text}", ".templates--quiet" if name is None else "")
        return Content.styled(f"› {text}", ".templates--here")
