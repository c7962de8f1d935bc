"""The sampling parameters as rows: what each shows, and what a nudge or a point on its bar means. No widgets here."""

from __future__ import annotations

from typing import Any

from lmlab.sampling import BY_NAME, ineffective
from lmlab.tui.status import label, value_text
from lmlab.tui.widgets.panel.row_kind import RowKind
from lmlab.tui.widgets.panel.view import Row, SamplingView

# What a bar spans where the range itself is too wide to aim at.
_SPANS: dict[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repeat_penalty": (1, 2),
}
# Where a nudge starts from a parameter that has no value at all.
_FIRST = {"max_tokens": 256}


class ParameterRow(RowKind):
    """A number."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._parameter = BY_NAME[name]

    def shown(self, view: SamplingView) -> Row:
        name = self.name
        coming, in_force = getattr(view.coming, name), getattr(view.in_force, name)
        random = name == "seed" and coming in (None, -1)
        return Row(
            name=name,
            label=label(name),
            value=_random_seed(in_force) if random else self._text(coming),
            fraction=self._fraction(coming),
            origin=view.origins.get(name, "default"),
            waiting=coming != in_force and not random,
            idle=name in ineffective(view.coming),
        )

    def asked(self, view: SamplingView) -> Any:
        return getattr(view.asked, self.name)

    def nudged(self, view: SamplingView, steps: int) -> float | None:
        """Return the value ``steps`` away from the one in force, inside the range."""
        value = self.asked(view)
        if value is None:
            value = getattr(view.coming, self.name)
        if self.name == "seed" and value in (None, -1) and view.in_force.seed is not None:
            # The first nudge keeps the seed that was drawn.
            return self._checked(view.in_force.seed)
        if value is None:
            return self._checked(_FIRST.get(self.name, 0))
        return self._checked(value + steps * self._parameter.step)

    def at(self, share: float) -> float | None:
        """Return the value where ``share`` of the bar is full, on a whole step."""
        if self.name not in _SPANS:
            return None
        low, high = _SPANS[self.name]
        steps = round((low + (high - low) * min(1.0, max(0.0, share))) / self._parameter.step)
        return self._checked(steps * self._parameter.step)

    def parsed(self, view: SamplingView, typed: str) -> Any:
        return self._parameter.parse(typed)

    def erased(self, view: SamplingView) -> None:
        return None

    def help(self, view: SamplingView) -> str:
        return f"{self._parameter.help}\n{self._parameter.describe_range().capitalize()}."

    def _text(self, value: object) -> str:
        return "until it ends" if self.name == "max_tokens" and value is None else value_text(self.name, value)

    def _fraction(self, value: float | None) -> float | None:
        if self.name not in _SPANS or value is None:
            return None
        low, high = _SPANS[self.name]
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def _checked(self, value: float) -> float:
        parameter = self._parameter
        return parameter.check(round(min(parameter.maximum, max(parameter.minimum, value)), 6))


class StopRow(RowKind):
    """The texts that end a reply."""

    free_text = True

    def __init__(self) -> None:
        super().__init__("stop")

    def shown(self, view: SamplingView) -> Row:
        coming = view.coming.stop
        return Row(
            name=self.name,
            label=label(self.name),
            value=value_text(self.name, coming),
            origin=view.origins.get(self.name, "default"),
            waiting=coming != view.in_force.stop,
        )

    def asked(self, view: SamplingView) -> tuple[str, ...] | None:
        return view.asked.stop

    def nudged(self, view: SamplingView, steps: int) -> None:
        return None

    def parsed(self, view: SamplingView, typed: str) -> tuple[str, ...]:
        return (*(view.asked.stop or ()), typed)

    def erased(self, view: SamplingView) -> tuple[str, ...] | None:
        return tuple(view.asked.stop or ())[:-1] or None

    def help(self, view: SamplingView) -> str:
        texts = view.coming.stop
        now = f"\nNow: {value_text(self.name, texts)}" if texts else ""
        return f"Texts that end the reply. Type one and Enter adds it; Backspace takes the last away.{now}"


def _random_seed(drawn: int | None) -> str:
    return "random" if drawn in (None, -1) else f"random {drawn}"
