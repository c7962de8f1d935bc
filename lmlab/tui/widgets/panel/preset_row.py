"""The preset that draws as the chat does, as a row: a step chooses the next one. No widgets here."""

from __future__ import annotations

from lmlab.lab.presets import SHAPE
from lmlab.tui.widgets.panel.row_kind import RowKind
from lmlab.tui.widgets.panel.view import Row, SamplingView

_NO_PRESET = {"set": "custom", "template": "the template's", "model": "the model's", "default": "none"}


class PresetRow(RowKind):
    """A name for how tokens are drawn."""

    def __init__(self) -> None:
        super().__init__("preset")

    def shown(self, view: SamplingView) -> Row:
        if view.preset is not None:
            return Row(self.name, self.name, view.preset)
        origins = {view.origins.get(name, "default") for name in SHAPE}
        return Row(self.name, self.name, next(text for origin, text in _NO_PRESET.items() if origin in origins))

    def asked(self, view: SamplingView) -> str | None:
        return view.preset

    def nudged(self, view: SamplingView, steps: int) -> str | None:
        names = view.presets
        if view.preset not in names:
            return names[0 if steps > 0 else -1] if names else None
        return names[min(len(names) - 1, max(0, names.index(view.preset) + steps))]

    def parsed(self, view: SamplingView, typed: str) -> str:
        # Which there are, the chat says.
        return typed

    def erased(self, view: SamplingView) -> str:
        return ""

    def help(self, view: SamplingView) -> str:
        return (
            f"How tokens are drawn, by name: {', '.join(view.presets)}.\n"
            "Backspace unsets all of it; /preset save NAME keeps how you draw now."
        )
