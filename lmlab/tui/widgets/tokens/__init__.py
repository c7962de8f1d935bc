"""The tokens of a reply: the reply itself, what the model weighed at one of them, and the sliders that bend it."""

from lmlab.tui.widgets.tokens.keys import action, hints
from lmlab.tui.widgets.tokens.lines import LegendLine, TitleLine
from lmlab.tui.widgets.tokens.reply_text import ReplyText
from lmlab.tui.widgets.tokens.sliders import Sliders, SlidersView
from lmlab.tui.widgets.tokens.state import Note, TokensState
from lmlab.tui.widgets.tokens.text import TokenText
from lmlab.tui.widgets.tokens.weighed import Weighed, WeighedView

__all__ = [
    "LegendLine",
    "Note",
    "ReplyText",
    "Sliders",
    "SlidersView",
    "TitleLine",
    "TokenText",
    "TokensState",
    "Weighed",
    "WeighedView",
    "action",
    "hints",
]
