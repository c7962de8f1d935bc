"""Changes of sampling that can be taken back. Knows nothing of the screen."""

from __future__ import annotations

from typing import Any

from lmlab.lab.chat import Chat


class SamplingChanges:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._before: list[tuple[str, Any]] = []

    def make(self, name: str, value: Any) -> None:
        """Set a sampling parameter; None unsets it. Raises SamplingError, with nothing changed."""
        before = getattr(self._chat.asked, name)
        self._chat.set_sampling(name, value)
        self._before.append((name, before))

    def undo(self) -> bool:
        """Take the last change back; return whether there was one."""
        if not self._before:
            return False
        self._chat.set_sampling(*self._before.pop())
        return True
