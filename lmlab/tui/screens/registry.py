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

    key: str
    title: str
    help: str
    module: str

    def open(self, app: ChatApp) -> ChatView:
        """Make the view. Raises UsageError that says why there is nothing to see."""
        opener = import_module(f"lmlab.tui.screens.{self.module}").open_view
        return cast("Callable[[ChatApp], ChatView]", opener)(app)


VIEWS: dict[str, ViewEntry] = {
    "tokens": ViewEntry("ctrl+t", "Tokens", "What the model weighed at each token of a reply", "tokens"),
    "candidates": ViewEntry("f4", "Candidates", "The replies to a message side by side; choose another", "candidates"),
    "tree": ViewEntry("f3", "Tree", "All branches of the conversation; go on from any, edit, prune", "tree"),
    "prompt": ViewEntry("f2", "Prompt", "Template, technique and shots; the exact text the model gets", "prompt"),
    "sessions": ViewEntry("ctrl+o", "Sessions", "All conversations: search, open, rename, export", "sessions"),
}
