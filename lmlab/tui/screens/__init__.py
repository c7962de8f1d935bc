"""Screens that lie over the chat: the help, and the views that look into it. A view is loaded when it is first opened."""

from lmlab.tui.screens.help import HelpScreen
from lmlab.tui.screens.registry import VIEWS, ViewEntry
from lmlab.tui.screens.view import ChatView

__all__ = ["VIEWS", "ChatView", "HelpScreen", "ViewEntry"]
