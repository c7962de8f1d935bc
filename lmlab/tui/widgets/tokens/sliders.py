"""Temperature, top-k, top-p and min-p as sliders. Says what a person wants; knows nothing of the chat or of logits."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.geometry import Offset, Size
from textual.message import Message
from textual.widget import Widget

from lmlab.sampling import BY_NAME
from lmlab.tui.format import bar
from lmlab.tui.status import label, value_text
from lmlab.tui.widgets.tokens.knobs import KNOBS, Knobs

_LABEL_CELLS = 14
_VALUE_CELLS = 6
_BAR_CELLS = 10
_BAR_START = _LABEL_CELLS + _VALUE_CELLS + 1
_KNOB_CELLS = _BAR_START + _BAR_CELLS + 3


@dataclass(frozen=True, slots=True)
class SlidersView:
    """``active`` is the slider that has the keys, ``typed`` what is being typed for it."""

    knobs: Knobs
    active: str | None = None
    typed: str | None = None


class Sliders(Widget):
    """Posts ``Slid`` and ``Nudged``; shows what ``show`` was given last."""

    COMPONENT_CLASSES = {  # noqa: RUF012 - Textual's own declaration
        "sliders--key",
        "sliders--bent",
        "sliders--idle",
        "sliders--bar",
        "sliders--cursor",
        "sliders--help",
    }

    class Slid(Message):
        """The slider ``name`` was put at ``share`` of its way."""

        def __init__(self, name: str, share: float) -> None:
            super().__init__()
            self.name = name
            self.share = share

    class Nudged(Message):
        """The slider ``name`` was turned by the wheel, or with 0 ``steps`` only chosen."""

        def __init__(self, name: str, steps: int) -> None:
            super().__init__()
            self.name = name
            self.steps = steps

    def __init__(self) -> None:
        super().__init__(id="token-sliders")
        self._view: SlidersView | None = None
        self._dragged: str | None = None

    def show(self, view: SlidersView) -> None:
        if view != self._view:
            self._view = view
            self.refresh()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(KNOBS) // _columns(width) + 1

    def render(self) -> Content:
        if self._view is None:
            return Content("")
        columns = _columns(self.content_size.width)
        names = list(KNOBS.values())
        rows = [names[start : start + columns] for start in range(0, len(names), columns)]
        lines = [Content("").join([self._knob(name) for name in row]) for row in rows]
        return Content("\n").join([Content.styled(self._help(), ".sliders--help"), *lines])

    def on_mouse_down(self, event: events.MouseDown) -> None:
        name, share = self._under(event.get_content_offset(self))
        if name is None:
            return
        event.stop()
        if share is None:
            self.post_message(self.Nudged(name, 0))
        else:
            self._dragged = name
            self.capture_mouse()
            self.post_message(self.Slid(name, share))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged is not None:
            event.stop()
            at = event.get_content_offset_capture(self)
            self.post_message(self.Slid(self._dragged, self._share(self._dragged, at)))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        if self._dragged is not None:
            event.stop()
            self._dragged = None
            self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, -1)

    def _wheel(self, event: events.MouseEvent, steps: int) -> None:
        name, _ = self._under(event.get_content_offset(self))
        if name is not None:
            event.stop()
            self.post_message(self.Nudged(name, steps))

    def _knob(self, name: str) -> Content:
        assert self._view is not None
        knobs, here = self._view.knobs, name == self._view.active
        pointer = Content.styled("› " if here else "  ", ".sliders--cursor")
        title = _title(name, ".sliders--cursor" if here else "")
        if here and self._view.typed is not None:
            value = Content.styled(f"{self._view.typed}▁".ljust(_KNOB_CELLS - _LABEL_CELLS), ".sliders--bent")
            return pointer + title + value
        mark = "•" if knobs.is_bent(name) else " "
        figure = f"{value_text(name, knobs.value(name)):>{_VALUE_CELLS - 1}}{mark} "
        gauge = bar(knobs.fraction(name), _BAR_CELLS)
        if knobs.idle(name):
            return pointer + title + Content.styled(f"{figure}{gauge} ", ".sliders--idle")
        return Content.assemble(
            pointer, title, (figure, ".sliders--bent" if knobs.is_bent(name) else ""), (f"{gauge} ", ".sliders--bar")
        )

    def _help(self) -> str:
        assert self._view is not None
        if self._view.active is not None:
            return f"  {BY_NAME[self._view.active].describe_range()}"
        return "  • bent here only: s takes it to the chat" if self._view.knobs.changed else ""

    def _under(self, at: Offset | None) -> tuple[str | None, float | None]:
        """Return the slider that is there and, on its bar, the share of the way."""
        if at is None:
            return None, None
        columns = _columns(self.content_size.width)
        column = at.x // _KNOB_CELLS
        place = (at.y - 1) * columns + column
        if at.y < 1 or column >= columns or place >= len(KNOBS):
            return None, None
        name = list(KNOBS.values())[place]
        on_bar = 0 <= at.x - column * _KNOB_CELLS - _BAR_START < _BAR_CELLS + 2
        return name, self._share(name, at) if on_bar else None

    def _share(self, name: str, at: Offset) -> float:
        place = list(KNOBS.values()).index(name) % _columns(self.content_size.width)
        return (at.x - place * _KNOB_CELLS - _BAR_START - 0.5) / _BAR_CELLS


def _columns(width: int) -> int:
    return 2 if width >= 2 * _KNOB_CELLS - 1 else 1


def _title(name: str, style: str) -> Content:
    """Return the label, the letter that is its key marked."""
    text = label(name).ljust(_LABEL_CELLS - 2)
    key = next(letter for letter, knob in KNOBS.items() if knob == name)
    at = text.rindex(key) if name in ("top_k", "top_p") else text.index(key)
    return Content.assemble((text[:at], style), (key, ".sliders--key"), (text[at + 1 :], style))
