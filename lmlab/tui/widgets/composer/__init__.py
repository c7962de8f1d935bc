"""Where a person writes: the input, its history, and the completion of commands."""

from lmlab.tui.widgets.composer.completions import Completions, Offer
from lmlab.tui.widgets.composer.prompt import Composer, Prompt

__all__ = ["Completions", "Composer", "Offer", "Prompt"]
