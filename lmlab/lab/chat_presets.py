"""The presets of a chat: which one is in force, choosing, saving and removing them, and taking the last of these back.

Knows nothing of screens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lmlab.errors import UsageError
from lmlab.lab.presets import BUILT_IN, SHAPE, Preset, Presets
from lmlab.lab.sampling_words import value_list
from lmlab.sampling import BY_NAME, SamplingParams, ineffective


class Drawing(Protocol):
    """What is needed of a chat."""

    asked: SamplingParams

    @property
    def in_force(self) -> SamplingParams: ...

    def set_asked(self, asked: SamplingParams) -> None: ...


class ChatPresets:
    """``complain`` is told, once, that a person's own presets cannot be read; those of lmlab are there all the same."""

    def __init__(self, chat: Drawing, presets: Presets, complain: Callable[[str], None]) -> None:
        self._chat = chat
        self._presets = presets
        self._complain = complain
        self._known: tuple[Preset, ...] | None = None
        self._chosen: str | None = None
        self._take_back: Callable[[], str] | None = None

    @property
    def known(self) -> tuple[Preset, ...]:
        """All presets, as they were when last read."""
        if self._known is None:
            try:
                self._known = self._presets.all()
            except UsageError as error:
                self._known = BUILT_IN
                self._complain(str(error))
        return self._known

    def read_again(self) -> None:
        """Let ``known`` be read anew: another lmlab may have saved one."""
        self._known = None

    @property
    def current(self) -> str | None:
        """The preset that draws as the chat does; of several that do, the one chosen last."""
        matching = [preset.name for preset in self.known if preset.matches(self._chat.in_force)]
        if self._chosen in matching:
            return self._chosen
        return matching[0] if matching else None

    def choose(self, name: str) -> Preset:
        """Draw as the preset ``name`` does. Raises UsageError that says which there are."""
        preset = self._presets.get(name)
        before, chosen = self._chat.asked, self._chosen
        self._chat.set_asked(preset.over(before))
        self._chosen = preset.name
        self._take_back = lambda: self._draw_again(before, chosen)
        return preset

    def draw_as(self, asked: SamplingParams) -> None:
        """Draw as ``asked`` says; what is no preset's, such as a seed, stays."""
        now = self._chat.asked
        for name in SHAPE:
            now = now.with_value(name, getattr(asked, name))
        self._chat.set_asked(now)

    def save(self, name: str) -> Preset:
        """Keep how the chat draws now under ``name``. Raises UsageError."""
        before = self._presets.save(name, self._chat.in_force)
        preset = self._presets.get(name)
        self._changed(preset.name)
        self._take_back = lambda: self._put_back(preset.name, before)
        return preset

    def remove(self, name: str) -> Preset:
        """Forget a person's own preset. Raises UsageError."""
        preset = self._presets.remove(name)
        self._changed(None)
        self._take_back = lambda: self._put_back(preset.name, preset)
        return preset

    def undo(self) -> str:
        """Take back what was chosen, saved or removed last; return what there is now. Raises UsageError."""
        if self._take_back is None:
            raise UsageError("there is nothing to undo: no preset was chosen, saved or removed")
        said = self._take_back()
        self._take_back = None
        return said

    def _draw_again(self, before: SamplingParams, chosen: str | None) -> str:
        self.draw_as(before)
        self._chosen = chosen
        return f"as before: {in_words(self._chat.in_force)}"

    def _put_back(self, name: str, before: Preset | None) -> str:
        if before is None:
            self._presets.remove(name)
        else:
            self._presets.save(name, before.sampling)
        self._changed(name if before is not None else None)
        return f"{name} is as it was" if before is not None else f"{name} is gone again"

    def _changed(self, chosen: str | None) -> None:
        self._known = None
        self._chosen = chosen


def in_words(sampling: SamplingParams) -> str:
    """Return how tokens are drawn, in a few words: what is off or cannot matter is left out."""
    silent = ineffective(sampling)
    on = (name for name in SHAPE if name not in silent and getattr(sampling, name) != BY_NAME[name].off)
    return value_list(sampling, on)
