"""What the command palette offers: what keys do, and every slash command."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from textual.app import SystemCommand

from lmlab.lab import slash

if TYPE_CHECKING:
    from lmlab.tui.app import ChatApp

# Offered under another name.
_ELSEWHERE = ("regen", "help")


def commands(app: ChatApp) -> Iterator[SystemCommand]:
    """Titles are Textual markup: nothing of a model's or a person's goes into them."""
    yield SystemCommand("Regenerate", "Another reply to the last message", app.action_regenerate)
    yield SystemCommand("Stop", "Stop the reply", app.action_stop)
    yield SystemCommand("Copy the last reply", "To the clipboard", app.action_copy_reply)
    yield SystemCommand("Sampling", "Go to the sampling panel", app.panel.focus)
    yield SystemCommand("Write in the editor", "In $VISUAL or $EDITOR", app.action_edit)
    yield SystemCommand("Light or dark", "The other of the two themes", app.action_toggle_theme)
    yield SystemCommand("Theme", "Choose among all themes", app.action_change_theme)
    yield SystemCommand("Help", "All keys and commands", app.action_help)
    for command in slash.COMMANDS:
        if command.names[0] not in _ELSEWHERE:
            yield SystemCommand(f"/{command.names[0]}", command.help, partial(app.run_from_palette, command))
