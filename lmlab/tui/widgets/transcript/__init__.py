"""The conversation: turns, what is under each reply, and following the end of it."""

from lmlab.tui.widgets.transcript.transcript import Transcript

__all__ = ["Transcript"]
