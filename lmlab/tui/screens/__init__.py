"""Screens over the chat."""

from lmlab.tui.screens.help import HelpScreen

__all__ = ["HelpScreen"]
