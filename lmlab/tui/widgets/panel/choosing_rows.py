"""How many replies are drawn and what chooses among them, as rows. No widgets here."""

from __future__ import annotations

from lmlab.errors import UsageError
from lmlab.lab.best_of import DEFAULT_SELECTOR, SELECTORS, parse_selector
from lmlab.terminal_text import one_line
from lmlab.tui.widgets.panel.row_kind import RowKind
from lmlab.tui.widgets.panel.view import Row, SamplingView
from lmlab.worker.messages import MOST_CANDIDATES

# The others need something typed after their names.
_NAMES = ("logprob", "vote", "judge")
_VALUE_CELLS = 17


class BestOfRow(RowKind):
    """How many replies to each message."""

    def __init__(self) -> None:
        super().__init__("best_of")

    def shown(self, view: SamplingView) -> Row:
        return Row(self.name, "best of", str(view.best_of), origin="set" if view.best_of > 1 else "default")

    def asked(self, view: SamplingView) -> int:
        return view.best_of

    def nudged(self, view: SamplingView, steps: int) -> int:
        return min(MOST_CANDIDATES, max(1, view.best_of + steps))

    def parsed(self, view: SamplingView, typed: str) -> int:
        if not typed.isdecimal():
            raise UsageError(f"best of {typed}: give a whole number from 1 to {MOST_CANDIDATES}")
        return int(typed)

    def erased(self, view: SamplingView) -> int:
        return 1

    def help(self, view: SamplingView) -> str:
        if view.at_once is not None and view.best_of > view.at_once > 1:
            return f"The model was loaded for {view.at_once} at once: the others wait. /model loads it for more."
        return (
            f"How many replies to draw to each message, to keep the best.\nA whole number from 1 to {MOST_CANDIDATES}."
        )


class SelectRow(RowKind):
    """What chooses the best."""

    free_text = True

    def __init__(self) -> None:
        super().__init__("select")

    def shown(self, view: SamplingView) -> Row:
        return Row(
            self.name,
            "select",
            one_line(view.select, _VALUE_CELLS),
            origin="default" if view.select == str(DEFAULT_SELECTOR) else "set",
            idle=view.best_of == 1,
        )

    def asked(self, view: SamplingView) -> str:
        return view.select

    def nudged(self, view: SamplingView, steps: int) -> str:
        at = _NAMES.index(view.select) if view.select in _NAMES else len(_NAMES)
        return _NAMES[min(len(_NAMES) - 1, max(0, at + steps))]

    def parsed(self, view: SamplingView, typed: str) -> str:
        return str(parse_selector(typed))

    def erased(self, view: SamplingView) -> str:
        return str(DEFAULT_SELECTOR)

    def help(self, view: SamplingView) -> str:
        idle = "\nNo effect while best of is 1." if view.best_of == 1 else ""
        return f"What keeps the best: {SELECTORS}.{idle}"
