"""What a row of the panel is to the panel: something to show, to nudge, to type into and to unset. Knows no widgets."""

from __future__ import annotations

from typing import Any

from lmlab.tui.widgets.panel.view import Row, SamplingView


class RowKind:
    """A row by ``name``. A value it returns is what the panel asks for; where there is none to ask for, it is None."""

    free_text = False
    """Whether anything may be typed, not only a number."""

    def __init__(self, name: str) -> None:
        self.name = name

    def shown(self, view: SamplingView) -> Row:
        """Return what the row shows."""
        raise NotImplementedError

    def asked(self, view: SamplingView) -> Any:
        """Return the value as it was asked for."""
        raise NotImplementedError

    def nudged(self, view: SamplingView, steps: int) -> Any | None:
        """Return the value ``steps`` away; None: there is none."""
        raise NotImplementedError

    def at(self, share: float) -> Any | None:
        """Return the value where ``share`` of the bar is full; None: it has no bar."""
        return None

    def parsed(self, view: SamplingView, typed: str) -> Any:
        """Return the value for what was typed. Raises LmlabError that says what may be."""
        raise NotImplementedError

    def erased(self, view: SamplingView) -> Any:
        """Return the value when this one is taken away."""
        raise NotImplementedError

    def help(self, view: SamplingView) -> str:
        """Return what the row means and what may be typed."""
        raise NotImplementedError
