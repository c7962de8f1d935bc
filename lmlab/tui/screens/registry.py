"""Which views there are, by name. Knows no view itself: each is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp
    from lmlab.tui.screens.view import ChatView


@dataclass(frozen=True, slots=True)
class ViewEntry:
    """``module`` below lmlab.tui.screens has ``open_view(app)``, which raises UsageError when there is nothing to see."""

    module: str

    def open(self, app: ChatApp) -> ChatView:
        """Make the view. Raises UsageError that says why there is nothing to see."""
        opener = import_module(f"lmlab.tui.screens.{self.module}").open_view
        return cast("Callable[[ChatApp], ChatView]", opener)(app)


VIEWS: dict[str, ViewEntry] = {
    name: ViewEntry(module=name) for name in ("tokens", "candidates", "tree", "prompt", "sessions")
}
"""Each is also the id of the action that opens it, which has its key, title and help."""
