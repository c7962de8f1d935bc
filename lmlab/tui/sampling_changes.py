"""Changes of how replies are drawn that can be taken back. Knows nothing of the screen."""

from __future__ import annotations

from typing import Any

from lmlab.lab.best_of import parse_selector
from lmlab.lab.chat import Chat
from lmlab.sampling import SamplingParams


class SamplingChanges:
    """A change is of a sampling parameter, of ``best_of``, of ``select``, or of the ``preset``."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._before: list[tuple[str, Any]] = []

    def make(self, name: str, value: Any) -> None:
        """Set ``name``; None unsets a sampling parameter. Raises SamplingError or UsageError, with nothing changed."""
        before = self._value(name)
        self._set(name, value)
        self._before.append((name, before))

    def undo(self) -> bool:
        """Take the last change back; return whether there was one."""
        if not self._before:
            return False
        self._set(*self._before.pop())
        return True

    def _value(self, name: str) -> Any:
        match name:
            case "best_of":
                return self._chat.best_of
            case "select":
                return str(self._chat.selector)
            case "preset":
                return self._chat.asked
            case _:
                return getattr(self._chat.asked, name)

    def _set(self, name: str, value: Any) -> None:
        match name:
            case "best_of":
                self._chat.set_best_of(value)
            case "select":
                self._chat.set_selector(parse_selector(value))
            case "preset" if isinstance(value, SamplingParams) or not value:
                self._chat.presets.draw_as(value or SamplingParams())
            case "preset":
                self._chat.set_preset(value)
            case _:
                self._chat.set_sampling(name, value)
