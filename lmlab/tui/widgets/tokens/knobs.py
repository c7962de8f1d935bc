"""The four sliders: temperature, top-k, top-p and min-p, bent here without changing the chat. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass, field

from lmlab.sampling import BY_NAME, SamplingParams, ineffective

KNOBS: dict[str, str] = {"t": "temperature", "k": "top_k", "p": "top_p", "m": "min_p"}
"""Which key turns which."""

# Steps that grow with the number, and 0, which is off and so keeps all, beyond the largest.
_TOP_K = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 1000, 0)
_HIGHEST = {"temperature": 2.0, "top_p": 1.0, "min_p": 1.0}


@dataclass(frozen=True, slots=True)
class Knobs:
    """``base`` is what the reply was drawn with, complete; of ``bent``, what is set lies over it."""

    base: SamplingParams
    bent: SamplingParams = field(default_factory=SamplingParams)

    @property
    def sampling(self) -> SamplingParams:
        return self.bent.merge(self.base)

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the names of those that differ from the reply's."""
        return tuple(name for name in KNOBS.values() if self.is_bent(name))

    def is_bent(self, name: str) -> bool:
        value: float | None = getattr(self.bent, name)
        return value is not None and value != getattr(self.base, name)

    def value(self, name: str) -> float:
        value: float | None = getattr(self.sampling, name)
        assert value is not None, f"{name} is unset: the base is not complete"
        return value

    def idle(self, name: str) -> bool:
        """Whether it cannot change the draw."""
        return name in ineffective(self.sampling)

    def fraction(self, name: str) -> float:
        """Return how far the slider stands to the right, 0 to 1."""
        value = self.value(name)
        if name == "top_k":
            return _ladder_place(value) / (len(_TOP_K) - 1)
        return min(1.0, value / _HIGHEST[name])

    def set(self, name: str, value: float | None) -> Knobs:
        """Return the knobs with one turned; None turns it back. Raises SamplingError."""
        return Knobs(self.base, self.bent.with_value(name, value))

    def typed(self, name: str, text: str) -> Knobs:
        """Raises SamplingError that names the range."""
        return self.set(name, BY_NAME[name].parse(text))

    def nudged(self, name: str, steps: int) -> Knobs:
        value = self.value(name)
        if name == "top_k":
            place = min(len(_TOP_K) - 1, max(0, _ladder_place(value) + steps))
            return self.set(name, _TOP_K[place])
        parameter = BY_NAME[name]
        wanted = round((value + steps * parameter.step) / parameter.step) * parameter.step
        return self.set(name, round(min(max(value, _HIGHEST[name]), max(parameter.minimum, wanted)), 6))

    def slid(self, name: str, share: float) -> Knobs:
        """Return the knobs with one at ``share`` of its slider, on a whole step."""
        share = min(1.0, max(0.0, share))
        if name == "top_k":
            return self.set(name, _TOP_K[round(share * (len(_TOP_K) - 1))])
        step = BY_NAME[name].step
        return self.set(name, round(round(share * _HIGHEST[name] / step) * step, 6))


def _ladder_place(value: float) -> int:
    """Return the step of the top-k ladder that is nearest from below; off is the last."""
    if value == 0:
        return len(_TOP_K) - 1
    return max(index for index, step in enumerate(_TOP_K[:-1]) if step <= value)
